//! What the doctor says: one line each.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know; nothing has to be done.
    Note,
    /// XDP runs, but slower or for fewer packets than it could, or the server meets a limit early.
    Warning,
    /// XDP cannot run in the mode that is asked for.
    Error,
}

impl Level {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The name of an interface, or `host`.
    pub about: String,
    /// How bad it is.
    pub level: Level,
    /// One sentence.
    pub text: String,
    /// The command that changes it, as root; `None` where there is nothing to do or no single command does it.
    pub command: Option<String>,
}

/// Findings about one interface or the host, as they are collected.
pub(super) struct Findings {
    about: String,
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn about(about: &str) -> Self {
        Self { about: about.into(), list: Vec::new() }
    }

    pub(super) fn say(&mut self, level: Level, text: impl Into<String>) {
        self.list.push(Finding { about: self.about.clone(), level, text: text.into(), command: None });
    }

    /// Something to be done, and how.
    pub(super) fn fix(&mut self, level: Level, text: impl Into<String>, command: impl Into<String>) {
        self.say(level, text);
        self.list.last_mut().expect("one was just pushed").command = Some(command.into());
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }
}
