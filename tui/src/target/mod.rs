//! What runs here: processes, their maps, ELF images, library and version, and the plan for each image.

pub mod plan;

pub mod loader_cache;
pub mod maps;
pub mod process;
