//! Cutting a compiled module in two: what a first visit runs, and the rest, which is loaded behind it.
//!
//! The first module keeps the memory, the tables and the data, and in place of each function that is elsewhere a stub.
//! A stub has its import `rest.load` load the rest, unless it is there, and calls what is then in the function's slot of
//! the table. The rest imports all it needs from the first module's exports as `first`, and fills the slots when it is
//! instantiated. That may be at any time; where it is before the first stub is called, nothing waits.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction, Module, StartSection,
    TableSection, TableType, ValType,
    reencode::{self, Reencode},
};
use wasmparser::{ExternalKind, FunctionBody};

use self::source::{DATA, DATA_COUNT, GLOBALS, MEMORY, Source, TABLES, TYPES, named};

/// Where stubs find the function that loads the rest.
const LOADER: (&str, &str) = ("rest", "load");
/// Where a module that is being profiled tells what it runs.
const WITNESS: (&str, &str) = ("rest", "seen");
/// What the rest calls the first module.
const FIRST: &str = "first";
/// The first module's global that the loader sets to 1 once the rest is there.
const READY: &str = "rest";

/// Both parts of a module.
#[derive(Debug)]
pub(super) struct Halves {
    pub(super) first: Vec<u8>,
    pub(super) rest: Vec<u8>,
}

/// New numbers for functions.
struct Renumber(BTreeMap<u32, u32>);

impl Reencode for Renumber {
    type Error = anyhow::Error;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error<anyhow::Error>> {
        let number =
            self.0.get(&function).copied().with_context(|| format!("function {function} is elsewhere"));
        number.map_err(reencode::Error::UserError)
    }
}

impl Renumber {
    fn of(&self, function: u32) -> Result<u32> {
        self.0.get(&function).copied().with_context(|| format!("function {function} is elsewhere"))
    }

    fn body(&mut self, body: &FunctionBody<'_>, before: &[Instruction<'_>]) -> Result<Function> {
        let mut function = self.new_function_with_parsed_locals(body).map_err(failed)?;
        for instruction in before {
            function.instruction(instruction);
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            function.instruction(&self.parse_instruction(&mut operators).map_err(failed)?);
        }
        Ok(function)
    }
}

fn failed(error: reencode::Error<anyhow::Error>) -> anyhow::Error {
    match error {
        reencode::Error::UserError(error) => error,
        other => anyhow::anyhow!("{other}"),
    }
}

/// The module as it is, but that it tells its import `rest.seen` the number of every function that it runs.
pub(super) fn instrument(module: &[u8]) -> Result<Vec<u8>> {
    let source = Source::read(module)?;
    let imported = source.imports.len() as u32;
    let all = 0..imported + source.own.len() as u32;
    let mut numbers = Renumber(all.map(|at| (at, if at < imported { at } else { at + 1 })).collect());
    let mut made = Module::new();
    source.raw(&mut made, TYPES);
    let mut imports = ImportSection::new();
    for (module, name, kind) in &source.imports {
        imports.import(module, name, EntityType::Function(*kind));
    }
    let told = source.type_of(&[wasmparser::ValType::I32])?;
    imports.import(WITNESS.0, WITNESS.1, EntityType::Function(told));
    made.section(&imports);
    let mut kinds = FunctionSection::new();
    source.own.iter().for_each(|kind| {
        kinds.function(*kind);
    });
    made.section(&kinds);
    for id in [TABLES, MEMORY, GLOBALS] {
        source.raw(&mut made, id);
    }
    exports(&source, &numbers, &mut made, &[])?;
    elements(&mut made, &numbers, source.slots.iter())?;
    source.raw(&mut made, DATA_COUNT);
    let mut code = CodeSection::new();
    for (function, body) in source.functions() {
        let tell = [Instruction::I32Const(function as i32), Instruction::Call(imported)];
        code.function(&numbers.body(body, &tell)?);
    }
    made.section(&code);
    source.raw(&mut made, DATA);
    Ok(made.finish())
}

fn exports(
    source: &Source<'_>,
    numbers: &Renumber,
    into: &mut Module,
    more: &[(String, ExportKind, u32)],
) -> Result<()> {
    let mut exports = ExportSection::new();
    for export in &source.exports {
        let (kind, index) = match export.kind {
            ExternalKind::Func => (ExportKind::Func, numbers.of(export.index)?),
            ExternalKind::Table => (ExportKind::Table, export.index),
            ExternalKind::Memory => (ExportKind::Memory, export.index),
            ExternalKind::Global => (ExportKind::Global, export.index),
            other => bail!("{other:?} is exported"),
        };
        exports.export(export.name, kind, index);
    }
    for (name, kind, index) in more {
        exports.export(name, *kind, *index);
    }
    into.section(&exports);
    if let Some(start) = source.start {
        into.section(&StartSection { function_index: numbers.of(start)? });
    }
    Ok(())
}

/// Puts functions into their slots, one segment for each run of slots.
fn elements<'s>(
    into: &mut Module,
    numbers: &Renumber,
    slots: impl Iterator<Item = (&'s u32, &'s u32)>,
) -> Result<()> {
    let mut runs: Vec<(u32, Vec<u32>)> = Vec::new();
    for (slot, at) in slots {
        let number = numbers.of(*at)?;
        match runs.last_mut() {
            Some((start, run)) if *start + run.len() as u32 == *slot => run.push(number),
            _ => runs.push((*slot, vec![number])),
        }
    }
    let mut section = ElementSection::new();
    for (start, run) in runs {
        section.active(None, &ConstExpr::i32_const(start as i32), Elements::Functions(run.into()));
    }
    into.section(&section);
    Ok(())
}

/// Cuts a module so that the first part holds the functions that `first` says by their names, and those that are
/// exported or have no name: few, small, and made by tools.
pub(super) fn split(module: &[u8], first: impl Fn(&str) -> bool) -> Result<Halves> {
    let cut = Cut::plan(Source::read(module)?, first)?;
    Ok(Halves { first: cut.first()?, rest: cut.rest()? })
}

/// What goes where.
struct Cut<'a> {
    source: Source<'a>,
    /// The functions that stay in the first part.
    kept: Vec<u32>,
    moved: BTreeSet<u32>,
    /// All that the first part's functions, exports and table name.
    by_first: BTreeSet<u32>,
    by_rest: BTreeSet<u32>,
    /// Functions of the rest that the first part needs something in place of: by type, and then by slot, as like beside
    /// like compresses best.
    stubs: Vec<u32>,
    /// The first table as it is once the rest is there.
    slots: BTreeMap<u32, u32>,
    /// A slot of each stub.
    slot_of: BTreeMap<u32, u32>,
    /// Entries of that table.
    entries: u32,
    /// Functions of the first part that the rest calls, in the order of their exports.
    shared: Vec<u32>,
}

impl<'a> Cut<'a> {
    fn plan(source: Source<'a>, first: impl Fn(&str) -> bool) -> Result<Self> {
        let imported = source.imports.len() as u32;
        let exported = source.exports.iter().filter(|export| export.kind == ExternalKind::Func);
        let doors: BTreeSet<u32> = exported.map(|export| export.index).chain(source.start).collect();
        let stays = |at: u32| doors.contains(&at) || source.names.get(&at).is_none_or(|name| first(name));
        let (mut kept, mut moved) = (Vec::new(), BTreeSet::new());
        let (mut by_first, mut by_rest) = (doors.clone(), BTreeSet::new());
        for (at, body) in source.functions() {
            let names = named(body)?;
            if stays(at) {
                kept.push(at);
                by_first.extend(names);
            } else {
                moved.insert(at);
                by_rest.extend(names);
            }
        }
        by_first.extend(source.slots.values());
        let mut stubs = Vec::new();
        for at in by_first.intersection(&moved) {
            stubs.push((source.kind(*at)?, *at));
        }
        stubs.sort_unstable();
        let table = source.tables.first().context("a module without a table")?;
        let mut entries = u32::try_from(table.ty.initial)?;
        let mut slots = source.slots.clone();
        let mut slot_of: BTreeMap<u32, u32> = slots.iter().map(|(slot, at)| (*at, *slot)).collect();
        for (_, stub) in &stubs {
            slot_of.entry(*stub).or_insert_with(|| {
                slots.insert(entries, *stub);
                entries += 1;
                entries - 1
            });
        }
        stubs.sort_by_key(|(kind, at)| (*kind, slot_of[at]));
        let stubs = stubs.into_iter().map(|(_, at)| at).collect();
        let theirs = |at: &u32| *at >= imported && !moved.contains(at);
        let shared = by_rest.iter().copied().filter(theirs).collect();
        Ok(Self { source, kept, moved, by_first, by_rest, stubs, slots, slot_of, entries, shared })
    }

    fn first(&self) -> Result<Vec<u8>> {
        let source = &self.source;
        let mut made = Module::new();
        source.raw(&mut made, TYPES);
        let mut numbers = Renumber(BTreeMap::new());
        let mut imports = self.imports(&self.by_first, &mut numbers);
        let loader = imports.len();
        imports.import(LOADER.0, LOADER.1, EntityType::Function(source.type_of(&[])?));
        made.section(&imports);
        let mut kinds = FunctionSection::new();
        for (number, at) in (loader + 1..).zip(self.kept.iter().chain(&self.stubs)) {
            numbers.0.insert(*at, number);
            kinds.function(source.kind(*at)?);
        }
        made.section(&kinds);
        let mut tables = TableSection::new();
        for at in 0..source.tables.len() {
            tables.table(self.table(at, &mut numbers)?);
        }
        made.section(&tables);
        source.raw(&mut made, MEMORY);
        let mut globals = GlobalSection::new();
        for global in &source.globals {
            numbers.parse_global(&mut globals, global.clone()).map_err(failed)?;
        }
        let ready = globals.len();
        let flag = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(flag, &ConstExpr::i32_const(0));
        made.section(&globals);
        let mut more = vec![(READY.to_owned(), ExportKind::Global, ready)];
        for (kind, count) in [
            (ExportKind::Table, source.tables.len()),
            (ExportKind::Memory, source.memories.len()),
            (ExportKind::Global, source.globals.len()),
        ] {
            more.extend((0..count as u32).map(|at| (shared_name(kind, at), kind, at)));
        }
        for (place, at) in (0..).zip(&self.shared) {
            more.push((shared_name(ExportKind::Func, place), ExportKind::Func, numbers.of(*at)?));
        }
        exports(source, &numbers, &mut made, &more)?;
        elements(&mut made, &numbers, self.slots.iter())?;
        source.raw(&mut made, DATA_COUNT);
        let mut code = CodeSection::new();
        for at in &self.kept {
            code.function(&numbers.body(source.body(*at)?, &[])?);
        }
        for at in &self.stubs {
            code.function(&self.stub(*at, loader, ready)?);
        }
        made.section(&code);
        source.raw(&mut made, DATA);
        Ok(made.finish())
    }

    fn rest(&self) -> Result<Vec<u8>> {
        let source = &self.source;
        let mut made = Module::new();
        source.raw(&mut made, TYPES);
        let mut numbers = Renumber(BTreeMap::new());
        let mut imports = self.imports(&self.by_rest, &mut numbers);
        for (place, at) in (0..).zip(&self.shared) {
            numbers.0.insert(*at, imports.len());
            let kind = EntityType::Function(source.kind(*at)?);
            imports.import(FIRST, &shared_name(ExportKind::Func, place), kind);
        }
        let functions = imports.len();
        for at in 0..source.tables.len() {
            let kind = EntityType::Table(self.table(at, &mut numbers)?);
            imports.import(FIRST, &shared_name(ExportKind::Table, at as u32), kind);
        }
        for (at, memory) in (0..).zip(&source.memories) {
            let kind = EntityType::Memory(numbers.memory_type(*memory).map_err(failed)?);
            imports.import(FIRST, &shared_name(ExportKind::Memory, at), kind);
        }
        for (at, global) in (0..).zip(&source.globals) {
            let kind = EntityType::Global(numbers.global_type(global.ty).map_err(failed)?);
            imports.import(FIRST, &shared_name(ExportKind::Global, at), kind);
        }
        made.section(&imports);
        let mut kinds = FunctionSection::new();
        for (number, at) in (functions..).zip(&self.moved) {
            numbers.0.insert(*at, number);
            kinds.function(source.kind(*at)?);
        }
        made.section(&kinds);
        elements(&mut made, &numbers, self.slots.iter().filter(|(_, at)| self.moved.contains(at)))?;
        let mut code = CodeSection::new();
        for at in &self.moved {
            code.function(&numbers.body(source.body(*at)?, &[])?);
        }
        made.section(&code);
        Ok(made.finish())
    }

    /// Those imports of the whole module that a part names.
    fn imports(&self, names: &BTreeSet<u32>, numbers: &mut Renumber) -> ImportSection {
        let mut imports = ImportSection::new();
        for (at, (module, name, kind)) in (0..).zip(&self.source.imports).filter(|(at, _)| names.contains(at))
        {
            numbers.0.insert(at, imports.len());
            imports.import(module, name, EntityType::Function(*kind));
        }
        imports
    }

    /// The type of a table; the first one has room for the stubs.
    fn table(&self, at: usize, numbers: &mut Renumber) -> Result<TableType> {
        let mut kind = numbers.table_type(self.source.tables[at].ty).map_err(failed)?;
        if at == 0 {
            let more = u64::from(self.entries) - kind.minimum;
            kind.minimum += more;
            kind.maximum = kind.maximum.map(|most| most + more);
        }
        Ok(kind)
    }

    /// Calls what is in a function's slot, once that is there.
    fn stub(&self, at: u32, loader: u32, ready: u32) -> Result<Function> {
        let type_index = self.source.kind(at)?;
        let kind = self.source.types.get(type_index as usize).context("a function without a type")?;
        let mut stub = Function::new([]);
        stub.instructions().global_get(ready).i32_eqz().if_(BlockType::Empty).call(loader).end();
        for param in 0..kind.params().len() as u32 {
            stub.instructions().local_get(param);
        }
        stub.instructions().i32_const(self.slot_of[&at] as i32).call_indirect(0, type_index).end();
        Ok(stub)
    }
}

/// What the first module exports something as for the rest.
fn shared_name(kind: ExportKind, at: u32) -> String {
    let letter = match kind {
        ExportKind::Table => "t",
        ExportKind::Memory => "m",
        ExportKind::Global => "g",
        _ => "f",
    };
    format!("{letter}{at:x}")
}

/// The names of a module's functions, where it has them.
pub(super) fn names(module: &[u8]) -> Result<BTreeMap<u32, String>> {
    let source = Source::read(module)?;
    Ok(source.names.iter().map(|(at, name)| (*at, (*name).to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wasm_encoder::{DataSection, MemorySection, MemoryType, NameMap, NameSection, RefType, TypeSection};

    use wasmparser::{Operator, Parser, Payload};

    use super::*;

    /// `entry`, exported, calls `near` and `far`; `far` calls `near` and `log`, which is imported; `kept` is in the table's
    /// third slot, and calls nothing.
    fn module() -> Vec<u8> {
        let mut made = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([], []);
        types.ty().function([ValType::I32], []);
        types.ty().function([ValType::I32], [ValType::I64]);
        made.section(&types);
        let mut imports = ImportSection::new();
        imports.import("page", "log", EntityType::Function(1));
        made.section(&imports);
        let mut kinds = FunctionSection::new();
        for kind in [0, 1, 2, 2] {
            kinds.function(kind);
        }
        made.section(&kinds);
        let mut tables = TableSection::new();
        let (element_type, table64, shared) = (RefType::FUNCREF, false, false);
        tables.table(TableType { element_type, table64, minimum: 3, maximum: Some(3), shared });
        made.section(&tables);
        let mut memories = MemorySection::new();
        let page_size_log2 = None;
        memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared, page_size_log2 });
        made.section(&memories);
        let mut exports = ExportSection::new();
        exports.export("entry", ExportKind::Func, 1);
        made.section(&exports);
        let mut slots = ElementSection::new();
        slots.active(None, &ConstExpr::i32_const(2), Elements::Functions([4].as_slice().into()));
        made.section(&slots);
        let mut code = CodeSection::new();
        let body = |write: &dyn Fn(&mut Function)| {
            let mut function = Function::new([]);
            write(&mut function);
            function.instructions().end();
            function
        };
        code.function(&body(&|entry| {
            entry.instructions().i32_const(7).call(2).i32_const(8).call(3).drop();
        }));
        code.function(&body(&|_near| {}));
        code.function(&body(&|far| {
            far.instructions().local_get(0).call(2).local_get(0).call(0).i64_const(9);
        }));
        code.function(&body(&|kept| {
            kept.instructions().i64_const(0);
        }));
        made.section(&code);
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(0), *b"text");
        made.section(&data);
        let mut names = NameSection::new();
        let mut functions = NameMap::new();
        for (at, name) in [(1, "entry"), (2, "near"), (3, "far"), (4, "kept")] {
            functions.append(at, name);
        }
        names.functions(&functions);
        made.section(&names);
        made.finish()
    }

    fn imports(module: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::ImportSection(section) = payload.unwrap() {
                let names = section.into_imports().map(|import| import.unwrap());
                found = names.map(|import| format!("{}.{}", import.module, import.name)).collect();
            }
        }
        found
    }

    #[test]
    fn the_first_part_calls_the_rest_through_the_table_and_the_rest_calls_it_by_its_exports() {
        let halves = split(&module(), |name| ["near", "kept"].contains(&name)).unwrap();
        assert_eq!(imports(&halves.first), ["rest.load"]);
        assert_eq!(imports(&halves.rest), ["page.log", "first.f0", "first.t0", "first.m0"]);
        let first = Source::read(&halves.first).unwrap();
        let exported: BTreeSet<&str> = first.exports.iter().map(|export| export.name).collect();
        assert_eq!(exported, BTreeSet::from(["entry", "rest", "f0", "t0", "m0"]));
        // `load`, then what stays in its order, then the stub for `far`, which has a new slot at the table's end.
        assert_eq!(first.slots, BTreeMap::from([(2, 3), (3, 4)]));
        assert_eq!(first.tables[0].ty.initial, 4);
        assert_eq!(named(first.body(1).unwrap()).unwrap(), BTreeSet::from([2, 4]));
        assert_eq!(named(first.body(4).unwrap()).unwrap(), BTreeSet::from([0]));
        assert_eq!(first.kind(4).unwrap(), 2, "a stub is of the type of what it stands for");
        assert!(halves.first.windows(4).any(|bytes| bytes == b"text"));
        assert!(!halves.rest.windows(4).any(|bytes| bytes == b"text"));
    }

    #[test]
    fn what_only_the_table_names_is_in_its_slot_once_the_rest_is_there() {
        let halves = split(&module(), |name| ["near", "far"].contains(&name)).unwrap();
        let first = Source::read(&halves.first).unwrap();
        assert_eq!(
            first.slots,
            BTreeMap::from([(2, 5)]),
            "log, load, entry, near and far come before the stub"
        );
        assert_eq!(first.tables[0].ty.initial, 3);
        assert_eq!(imports(&halves.rest), ["first.t0", "first.m0"]);
    }

    #[test]
    fn a_watched_module_tells_the_numbers_it_had() {
        let watched = instrument(&module()).unwrap();
        assert_eq!(imports(&watched), ["page.log", "rest.seen"]);
        let source = Source::read(&watched).unwrap();
        assert_eq!(source.slots, BTreeMap::from([(2, 5)]));
        let mut operators = source.body(4).unwrap().get_operators_reader().unwrap();
        assert!(matches!(operators.read().unwrap(), Operator::I32Const { value: 3 }));
        assert!(matches!(operators.read().unwrap(), Operator::Call { function_index: 1 }));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        assert!(split(b"text", |_| true).is_err());
        assert!(split(&module()[..40], |_| true).is_err());
    }
}
