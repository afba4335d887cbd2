//! What a module consists of (WebAssembly core specification 5.5), as far as cutting it needs to know.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use wasm_encoder::{Module, RawSection};
use wasmparser::{
    ElementItems, ElementKind, Export, FuncType, FunctionBody, KnownCustom, Name, Operator, Parser, Payload,
    TypeRef,
};

/// What this needs to know of a module.
pub(super) struct Source<'a> {
    /// Type, import, ... sections that are taken over as they are.
    pub(super) raw: BTreeMap<u8, &'a [u8]>,
    pub(super) types: Vec<FuncType>,
    /// Module, name, type. They come first in the functions' numbering.
    pub(super) imports: Vec<(&'a str, &'a str, u32)>,
    /// The types of the module's own functions.
    pub(super) own: Vec<u32>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) tables: Vec<wasmparser::Table<'a>>,
    pub(super) memories: Vec<wasmparser::MemoryType>,
    pub(super) globals: Vec<wasmparser::Global<'a>>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) start: Option<u32>,
    /// What is in the first table, by slot.
    pub(super) slots: BTreeMap<u32, u32>,
    pub(super) names: BTreeMap<u32, &'a str>,
}

pub(super) const TYPES: u8 = 1;
pub(super) const TABLES: u8 = 4;
pub(super) const MEMORY: u8 = 5;
pub(super) const GLOBALS: u8 = 6;
pub(super) const DATA: u8 = 11;
pub(super) const DATA_COUNT: u8 = 12;

impl<'a> Source<'a> {
    pub(super) fn read(module: &'a [u8]) -> Result<Self> {
        let mut source = Self {
            raw: BTreeMap::new(),
            types: Vec::new(),
            imports: Vec::new(),
            own: Vec::new(),
            bodies: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
            globals: Vec::new(),
            exports: Vec::new(),
            start: None,
            slots: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section() {
                let section = module.get(range.start as usize..range.end as usize);
                source.raw.insert(id, section.context("a section beyond the module's end")?);
            }
            source.take(payload)?;
        }
        Ok(source)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(types) => {
                for kind in types.into_iter_err_on_gc_types() {
                    self.types.push(kind?);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    let TypeRef::Func(kind) = import.ty else { bail!("{} is imported", import.name) };
                    self.imports.push((import.module, import.name, kind));
                }
            }
            Payload::FunctionSection(kinds) => self.own = kinds.into_iter().collect::<Result<_, _>>()?,
            Payload::TableSection(tables) => self.tables = tables.into_iter().collect::<Result<_, _>>()?,
            Payload::MemorySection(memories) => {
                self.memories = memories.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::GlobalSection(globals) => {
                self.globals = globals.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::ExportSection(exports) => {
                self.exports = exports.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::ElementSection(elements) => {
                for element in elements {
                    let element = element?;
                    let (ElementKind::Active { table_index, offset_expr }, ElementItems::Functions(items)) =
                        (element.kind, element.items)
                    else {
                        bail!("an element segment that is not simply a part of a table")
                    };
                    ensure!(table_index.unwrap_or(0) == 0, "functions in another table than the first");
                    let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
                        bail!("an element segment at no constant place")
                    };
                    for (slot, function) in (value as u32..).zip(items) {
                        self.slots.insert(slot, function?);
                    }
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for subsection in names {
                        if let Name::Function(names) = subsection? {
                            for naming in names {
                                let naming = naming?;
                                self.names.insert(naming.index, naming.name);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn kind(&self, function: u32) -> Result<u32> {
        let imported = self.imports.iter().map(|(.., kind)| kind);
        let kind = imported.chain(&self.own).nth(function as usize);
        kind.copied().with_context(|| format!("there is no function {function}"))
    }

    pub(super) fn body(&self, function: u32) -> Result<&FunctionBody<'a>> {
        let at = (function as usize).checked_sub(self.imports.len());
        at.and_then(|at| self.bodies.get(at)).with_context(|| format!("function {function} has no body"))
    }

    /// The module's own functions by number.
    pub(super) fn functions(&self) -> impl Iterator<Item = (u32, &FunctionBody<'a>)> {
        (self.imports.len() as u32..).zip(&self.bodies)
    }

    pub(super) fn raw(&self, into: &mut Module, id: u8) {
        if let Some(data) = self.raw.get(&id) {
            into.section(&RawSection { id, data });
        }
    }

    /// The number of the type of functions that take and give these.
    pub(super) fn type_of(&self, params: &[wasmparser::ValType]) -> Result<u32> {
        let found = self.types.iter().position(|kind| kind.params() == params && kind.results().is_empty());
        found.map(|at| at as u32).context("the module has no function of the loader's type")
    }
}

/// The functions that a body names.
pub(super) fn named(body: &FunctionBody<'_>) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Call { function_index }
            | Operator::ReturnCall { function_index }
            | Operator::RefFunc { function_index } => {
                found.insert(function_index);
            }
            Operator::MemoryInit { .. } | Operator::DataDrop { .. } => bail!("a body that names data"),
            _ => {}
        }
    }
    Ok(found)
}
