//! The binary `felund`; everything is in the library.

fn main() -> std::process::ExitCode {
    native_tui::main()
}
