//! Configuration: any text is a configuration or refused with a reason, and what is loaded survives a rewrite.

use corering::config::parse::{quote, split_words};
use corering::config::{CommandLine, Config, Directive, Host, LoadError, Loader, Place};
use corering::resp::parser::{Limits, Parser};
use std::io;

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    assert_eq!(split_words(&quote(input)), Ok(vec![input.to_vec()]));
    check_words(input);
    let arguments: Vec<Vec<u8>> = input.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let _ = load(&CommandLine::parse(&arguments).lines);
    if let Ok(config) = load(input) {
        let text = config.rewrite(input);
        let again = match load(&text) {
            Ok(again) => again,
            Err(error) => panic!("the rewritten file is refused: {error}\n{}", text.escape_ascii()),
        };
        for row in Directive::all() {
            assert_eq!(config.value(row.name), again.value(row.name), "{} in {}", row.name, text.escape_ascii());
        }
        assert_eq!(again.rewrite(&text), text, "a second rewrite changes nothing");
    }
}

/// Configuration lines and inline requests are split alike; the two were written apart.
fn check_words(line: &[u8]) {
    if line.first() == Some(&b'*') || line.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        return;
    }
    let mut request = [line, b"\n"].concat();
    let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
    let mut args = Vec::new();
    match (Parser::new().parse(&mut request, &limits, &mut args), split_words(line)) {
        (Ok(Some(consumed)), Ok(words)) => {
            assert_eq!(consumed, request.len());
            assert_eq!(args.iter().map(|arg| arg.of(&request).to_vec()).collect::<Vec<_>>(), words);
        }
        (Err(_), Err(_)) => {}
        (request, words) => panic!("{request:?} as a request, {words:?} as a line"),
    }
}

fn load(text: &[u8]) -> Result<Config, LoadError> {
    let host = Host {
        read_file: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
        expand: &|pattern| vec![pattern.into()],
        resolve_directory: &|path| Ok(std::path::Path::new("/").join(path)),
        check_renames: &|_| Ok(()),
        machine_memory_bytes: 1 << 30,
    };
    let mut loader = Loader::new(&host).expect("the current directory is there");
    loader.text(text, &Place::Stdin)?;
    loader.finish(Place::Stdin)
}
