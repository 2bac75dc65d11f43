// SPDX-License-Identifier: GPL-2.0-only

//! `criu-action`: CRIU's action script.
//!
//! CRIU restores each task with its pid, and leaves the last pid of the new pid namespace at the
//! largest pid that it restored. At `post-dump` the container still exists, frozen; at
//! `post-restore` all its tasks exist and none runs yet.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use pidns::{task::Task, Cursors, LastPids, PidNamespace, MAX_PID};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, OrFail},
    output,
    restore::has_pid_max_per_namespace,
    target::Way,
};

/// The file beside CRIU's images.
const FILE: &str = "nspid.json";

/// What CRIU's images lack of a pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    last_pid: i32,
    /// Of the namespace itself, where the kernel has one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid_max: Option<i32>,
}

const FORMAT: u32 = 1;

impl Kept {
    fn parse(text: &str) -> Result<Self, String> {
        let kept: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if kept.format != FORMAT {
            return Err(format!("format {}, and this nspid reads {FORMAT}", kept.format));
        }
        if !(0..=MAX_PID).contains(&kept.last_pid) {
            return Err(format!("a last pid of {}", kept.last_pid));
        }
        Ok(kept)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last pid {}", self.last_pid)?;
        self.pid_max.map_or(Ok(()), |pid_max| write!(f, " and pid_max {pid_max}"))
    }
}

/// Does what CRIU started it for. A failure that is not `fatal` is a warning in CRIU's log.
pub fn criu_action(way: Way, fatal: bool) -> Result<ExitCode, Failure> {
    match act(way) {
        Err(failure) if !fatal => {
            eprintln!("nspid: warning: {failure}");
            Ok(ExitCode::SUCCESS)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn act(way: Way) -> Result<(), Failure> {
    let action = variable("CRTOOLS_SCRIPT_ACTION")?;
    match action.as_str() {
        "post-dump" => keep(&Container::from_environment()?, way),
        "post-restore" => set(&Container::from_environment()?, way),
        _ => Ok(()),
    }
}

/// What CRIU dumps or restores.
struct Container {
    root: i32,
    images: PathBuf,
}

impl Container {
    fn from_environment() -> Result<Self, Failure> {
        let root = variable("CRTOOLS_INIT_PID")?;
        let root = root.parse().map_err(|_| Failure::other(format!("CRTOOLS_INIT_PID={root}")))?;
        Ok(Self { root, images: variable("CRTOOLS_IMAGE_DIR")?.into() })
    }

    fn file(&self) -> PathBuf {
        self.images.join(FILE)
    }

    /// Opens the pid namespace that CRIU dumps or has made: the root task is its init, it is not
    /// the namespace of CRIU, and no external one, to which others belong too.
    fn namespace(&self) -> Result<Option<PidNamespace>, Failure> {
        let about = || format!("the root task, {}", self.root);
        let ns = PidNamespace::of_process(self.root).or_fail(about)?;
        let own = PidNamespace::own().or_fail(|| "/proc/self/ns/pid".to_owned())?;
        let task = Task::read(self.root).or_fail(about)?;

        let is_own = ns.inode().or_fail(about)? == own.inode().or_fail(about)?;
        let is_init = task.pids.first() == Some(&1);
        let is_external = names_external_ns(&self.images)
            .or_fail(|| format!("{}/pidns-*.img", self.images.display()))?;
        Ok((!is_own && is_init && !is_external).then_some(ns))
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|_| {
        Failure::other(format!("{name} is not set: CRIU starts this, as its --action-script"))
    })
}

/// Whether CRIU dumped an external pid namespace. `pidns-ID.img` names it then: after two magic
/// numbers and the length, each of 4 bytes, comes field 1 of its `pidns_entry`, `ext_key`.
fn names_external_ns(images: &Path) -> io::Result<bool> {
    const EXT_KEY: u8 = (1 << 3) | 2;

    for entry in fs::read_dir(images)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("pidns-")
            && name.ends_with(".img")
            && fs::read(entry.path())?.get(12) == Some(&EXT_KEY)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// At dump.
fn keep(container: &Container, way: Way) -> Result<(), Failure> {
    let file = container.file();
    let about = || file.display().to_string();
    // It could be that of an earlier dump.
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).or_fail(about),
        _ => {}
    }
    let Some(ns) = container.namespace()? else { return Ok(()) };

    let cursors = way.open(ns)?;
    let pid_max = has_pid_max_per_namespace().then(|| cursors.pid_max()).transpose()?;
    let last_pid = cursors.get(1)?.as_slice().first().copied().unwrap_or_default();
    // Above a lowered pid_max is the same as at it: the next pid starts over.
    let last_pid = last_pid.min(pid_max.unwrap_or(MAX_PID));
    let kept = Kept { format: FORMAT, last_pid, pid_max };

    let text = serde_json::to_string(&kept).map_err(io::Error::from).or_fail(about)?;
    fs::write(&file, text + "\n").or_fail(about).inspect_err(|_| drop(fs::remove_file(&file)))?;
    output::print(&format!("nspid: kept {kept} in {FILE}\n"))
}

/// At restore.
fn set(container: &Container, way: Way) -> Result<(), Failure> {
    let file = container.file();
    let about = || file.display().to_string();
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.or_fail(about)?,
    };
    let kept = Kept::parse(&text).map_err(io::Error::other).or_fail(about)?;
    let Some(ns) = container.namespace()? else { return Ok(()) };

    let cursors = way.open(ns)?;
    let pid_max = match kept.pid_max {
        Some(pid_max) if has_pid_max_per_namespace() => set_pid_max(&cursors, pid_max),
        _ => Ok(()),
    };
    // After that, since a helper can take a pid.
    let last_pids = LastPids::new(vec![kept.last_pid]).map_err(io::Error::other).or_fail(about)?;
    cursors.set(&last_pids)?;
    pid_max?;
    output::print(&format!("nspid: set {kept} from {FILE}\n"))
}

fn set_pid_max(cursors: &Cursors, pid_max: i32) -> Result<(), Failure> {
    if cursors.pid_max()? != pid_max {
        cursors.set_pid_max(pid_max)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keep_writes_is_read() {
        for kept in [
            Kept { format: FORMAT, last_pid: 0, pid_max: None },
            Kept { format: FORMAT, last_pid: MAX_PID, pid_max: Some(400) },
        ] {
            let text = serde_json::to_string(&kept).unwrap();
            assert_eq!(Kept::parse(&text), Ok(kept));
        }
        for text in [
            "",
            "{}",
            r#"{"format":2,"last_pid":20}"#,
            r#"{"format":1,"last_pid":-1}"#,
            r#"{"format":1,"last_pid":4194305}"#,
            r#"{"format":1,"last_pid":20,"pid":3}"#,
            r#"{"format":1,"last_pid":20"#,
        ] {
            assert!(Kept::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_image_of_an_external_namespace_names_it() {
        let images = env::temp_dir().join(format!("nspid-{}", std::process::id()));
        fs::create_dir(&images).unwrap();
        let names = |entry: &[u8]| {
            let mut image = vec![0; 8];
            image.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
            image.extend(entry);
            fs::write(images.join("pidns-9.img"), image).unwrap();
            names_external_ns(&images).unwrap()
        };

        assert!(names(b"\x0a\x05outer"));
        assert!(!names(b"\x10\x14")); // last_pid alone
        assert!(!names(b""));
        fs::remove_file(images.join("pidns-9.img")).unwrap();
        assert!(!names_external_ns(&images).unwrap());
        fs::remove_dir(images).unwrap();
    }
}
