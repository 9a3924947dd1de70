//! What runs here: processes, their maps, ELF images, library and version, and the plan for each image.

pub mod arch;
mod bytes;
pub mod cache;
pub mod dynamic;
pub mod elf;
pub mod image;
pub mod labels;
pub mod library;
pub mod machine;
pub mod notes;
pub mod plan;
pub mod random;
#[cfg(test)]
mod sample;
pub mod site;
pub mod tap;
pub mod walk;
pub mod window;
