//! `hub-schema [--check] [FOLDER]`: writes the descriptions of the protocol into the repository, or says which of
//! those that are there differ.

#![expect(clippy::print_stdout, reason = "the program's result")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

use hub_protocol::schema::files;

fn main() -> io::Result<ExitCode> {
    let (mut is_check, mut folder) = (false, PathBuf::from("."));
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--check" => is_check = true,
            other => folder = PathBuf::from(other),
        }
    }
    let mut differing = 0;
    for file in files() {
        let path = folder.join(file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        differing += 1;
        if is_check {
            println!("{} is not what the types say", file.path);
        } else {
            fs::create_dir_all(path.parent().expect("every file stands in a folder"))?;
            fs::write(&path, file.text)?;
            println!("{} written", file.path);
        }
    }
    let is_bad = is_check && differing > 0;
    Ok(if is_bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
