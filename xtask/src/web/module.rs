//! Changes to compiled modules, section by section (WebAssembly core specification 5.5).

/// A section: its id, all of it, and its content.
type Section<'a> = (u8, &'a [u8], &'a [u8]);

/// What an import was called, and what it is called now.
type Renamed = (String, String);

const HEADER: usize = 8;
const CUSTOM: u8 = 0;
const IMPORTS: u8 = 2;
const FUNCTION: u8 = 0;

/// The module without its custom sections, none if it is no module.
pub(super) fn without_custom_sections(module: &[u8]) -> Option<Vec<u8>> {
    let mut stripped = module.get(..HEADER)?.to_vec();
    for (id, whole, _) in sections(module)? {
        if id != CUSTOM {
            stripped.extend_from_slice(whole);
        }
    }
    Some(stripped)
}

/// The module with its imports numbered, and what each was called and is called now; none if it imports anything but
/// functions. Only names that end in a hash are changed: nothing else in the script is called so.
pub(super) fn with_short_imports(module: &[u8]) -> Option<(Vec<u8>, Vec<Renamed>)> {
    let (mut shortened, mut names) = (module.get(..HEADER)?.to_vec(), Vec::new());
    for (id, whole, mut from) in sections(module)? {
        if id != IMPORTS {
            shortened.extend_from_slice(whole);
            continue;
        }
        let mut body = Vec::with_capacity(from.len());
        let count = take_number(&mut from)?;
        put_number(&mut body, count);
        for _ in 0..count {
            put_name(&mut body, take_name(&mut from)?);
            let name = std::str::from_utf8(take_name(&mut from)?).ok()?;
            if ends_in_hash(name) {
                let short = format!("i{:x}_", names.len());
                put_name(&mut body, short.as_bytes());
                names.push((name.to_owned(), short));
            } else {
                put_name(&mut body, name.as_bytes());
            }
            let (FUNCTION, index) = from.split_first().map(|(kind, rest)| (*kind, rest))? else {
                return None;
            };
            from = index;
            body.push(FUNCTION);
            put_number(&mut body, take_number(&mut from)?);
        }
        shortened.push(IMPORTS);
        put_number(&mut shortened, body.len());
        shortened.extend_from_slice(&body);
    }
    Some((shortened, names))
}

fn ends_in_hash(name: &str) -> bool {
    let end = name.rsplit('_').next().unwrap_or_default();
    end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sections(module: &[u8]) -> Option<Vec<Section<'_>>> {
    let mut rest = module.strip_prefix(b"\0asm")?.get(HEADER - 4..)?;
    let mut sections = Vec::new();
    while let Some((id, mut behind)) = rest.split_first() {
        let length = take_number(&mut behind)?;
        let (content, next) = behind.split_at_checked(length)?;
        sections.push((*id, &rest[..rest.len() - next.len()], content));
        rest = next;
    }
    Some(sections)
}

/// An unsigned number in LEB128.
fn take_number(from: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for at in 0..5 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_number(into: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn take_name<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(from)?;
    let (name, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(name)
}

fn put_name(into: &mut Vec<u8>, name: &[u8]) {
    put_number(into, name.len());
    into.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_module_loses_its_custom_sections_and_nothing_else() {
        let long = [[0, 0x81, 0x01].as_slice(), &[7; 129]].concat();
        let module = [START, &[1, 2, 8, 9], &long, &[0, 1, 5], &[10, 1, 4]].concat();
        assert_eq!(without_custom_sections(&module).unwrap(), [START, &[1, 2, 8, 9], &[10, 1, 4]].concat());
        assert_eq!(without_custom_sections(b"text"), None);
        assert_eq!(without_custom_sections(&module[..module.len() - 1]), None);
    }

    #[test]
    fn only_imported_functions_with_a_hash_get_other_names() {
        let plain = [START, &[2, 7, 1, 1, b'm', 1, b'n', 0, 7], &[10, 1, 4]].concat();
        assert_eq!(with_short_imports(&plain), Some((plain.clone(), Vec::new())));
        let memory = [START, &[2, 8, 1, 1, b'm', 1, b'n', 2, 0, 1]].concat();
        assert_eq!(with_short_imports(&memory), None);
        assert_eq!(with_short_imports(&plain[..plain.len() - 1]), None);
        assert_eq!(with_short_imports(b"text"), None);
    }
}
