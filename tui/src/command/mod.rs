//! `tlskeytop -- COMMAND`: which files it will use, and running it as the user behind sudo.

mod child;
mod resolve;
mod user;

use std::ffi::OsString;
use std::path::PathBuf;

pub use child::{Child, Streams};
use resolve::Search;
pub use user::User;

use crate::target::needed::Loader;
use crate::text::Foreign;

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("{0}: there is no such program")]
    NotFound(Foreign),
    /// There is one that may not be run.
    #[error("{program}: it cannot be run{as_whom}: {reason}")]
    NotExecutable {
        /// The program.
        program: Foreign,
        /// As whom, when not as ourselves.
        as_whom: &'static str,
        /// Why not.
        reason: String,
    },
}

impl CommandError {
    /// 127 and 126, as shells have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable { .. } => 126,
        }
    }
}

/// A command that can be run.
#[derive(Debug)]
pub struct Command {
    /// The program's file.
    program: PathBuf,
    /// The arguments, the first of which is the program as it was typed.
    arguments: Vec<OsString>,
    user: User,
    /// The files in which TLS code may be that it will use, as far as can be told before.
    pub files: Vec<PathBuf>,
}

impl Command {
    /// Looks for the program, and for what it will use. To be called while there is only one thread: the user's groups
    /// are asked of the C library.
    ///
    /// # Errors
    ///
    /// [`CommandError`] when there is nothing that could be run.
    pub fn prepare(arguments: Vec<OsString>) -> Result<Self, CommandError> {
        let user = User::of_this_run();
        let search = Search::of(&user);
        let typed = arguments.first().cloned().unwrap_or_default();
        // With the user's rights: what root can run is not what the user can.
        let found = user.with_rights(|| {
            let program = search.program(&typed)?;
            let programs = search.programs(&program, &arguments);
            Ok((program, programs))
        });
        let shown = Foreign::from(typed.as_os_str());
        let (program, programs) = match found {
            Ok(found) => found?,
            Err(error) => {
                let (as_whom, reason) = (user.as_whom(), error.to_string());
                return Err(CommandError::NotExecutable { program: shown, as_whom, reason });
            }
        };
        let variable = |name: &str| user.variable(name);
        let loader =
            Loader::new(variable("LD_LIBRARY_PATH").as_deref(), variable("LD_PRELOAD").as_deref());
        let files = loader.closure(&programs);
        Ok(Self { program, arguments, user, files })
    }
}
