// SPDX-License-Identifier: GPL-2.0-only

//! `man`: a page for nspid and one for each command.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::{roff::Roff, Man};

use crate::{
    cli::Cli,
    failure::{Failure, OrFail},
    output,
};

const FILES: [(&str, &str); 4] = [
    ("/proc/PID/ns/pid", "the pid namespace of a task"),
    ("/proc/PID/status", "NSpid, NSpgid and NSsid: the pids of a task, the outermost first"),
    ("/proc/sys/kernel/ns_last_pid", "the last pid of the reader's own namespace"),
    ("/proc/sys/kernel/pid_max", "the limit of the reader's own namespace, since Linux 6.14"),
];

pub fn print(command: Option<&str>) -> Result<(), Failure> {
    // These two are for packagers, and have no page.
    let mut cli = Cli::command().disable_help_subcommand(true);
    for name in ["completions", "man"] {
        cli = cli.mut_subcommand(name, |command| command.hide(true));
    }
    cli.build();
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<String> = shown.map(|command| command.get_name().to_owned()).collect();
    let page = match command {
        None => page(&cli, names.iter().map(|name| format!("nspid-{name}"))),
        Some(name) => match cli.find_subcommand(name) {
            Some(command) => page(command, ["nspid".to_owned()].into_iter()),
            None => return Err(Failure::other(format!("there is no command {name}"))),
        },
    };
    output::print(&String::from_utf8_lossy(&page.or_fail(|| "man page".to_owned())?))
}

fn page(command: &clap::Command, related: impl Iterator<Item = String>) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    // The text after the options has sections of its own.
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let command = command.clone().name(name.clone()).after_help(None::<&str>);
    let command = command.after_long_help(None::<&str>);
    let subcommands = command.has_subcommands();
    let man = Man::new(command).title(name);

    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if subcommands {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    for (number, section) in after.split("\n\n").filter(|text| !text.is_empty()).enumerate() {
        let (heading, text) = section.split_once(":\n").unwrap_or(("Notes", section));
        if number == 0 && heading == "Examples" {
            files(&mut roff);
        }
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in text.lines() {
            roff.text([clap_mangen::roff::roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
        if heading == "Exit status" {
            files(&mut roff);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let more = ["clone3(2)", "ioctl_nsfs(2)", "pid_namespaces(7)", "nsenter(1)", "criu(8)"];
    let related = related.map(|page| format!("{page}(1)"));
    let all: Vec<String> = related.chain(more.map(str::to_owned)).collect();
    roff.text([clap_mangen::roff::roman(all.join(", "))]);
    out.write_all(roff.render().as_bytes())?;
    Ok(out)
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    for (path, what) in FILES {
        roff.control("TP", []);
        roff.text([clap_mangen::roff::italic(path)]);
        roff.text([clap_mangen::roff::roman(what)]);
    }
}
