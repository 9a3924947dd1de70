//! What runs here: processes, their maps, ELF images, library and version, and the plan for each image.

pub mod arch;
mod bytes;
pub mod cache;
pub mod called;
pub mod commands;
pub mod dynamic;
pub mod eh_frame;
pub mod elf;
pub mod error_records;
pub mod exact;
pub mod functions;
pub mod image;
pub mod labels;
pub mod layout;
pub mod libcrypto;
pub mod library;
pub mod linkage;
pub mod loader_cache;
pub mod machine;
pub mod maps;
pub mod notes;
pub mod plan;
pub mod process;
pub mod random;
pub mod record_hooks;
pub mod record_names;
pub mod registry;
#[cfg(test)]
mod sample;
pub mod site;
pub mod sockets;
pub mod stack;
pub mod tap;
pub mod walk;
pub mod window;
