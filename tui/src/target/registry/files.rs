//! What those who attach need of an image.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::target::ImageId;
use crate::target::plan::ImagePlan;

/// An open file and its plan.
type Planned = (Arc<File>, Arc<ImagePlan>);

/// The files and plans of the images, for those who attach.
#[derive(Clone, Debug, Default)]
pub struct ImageFiles(Arc<Mutex<HashMap<ImageId, Planned>>>, Arc<Mutex<HashMap<ImageId, u64>>>);

impl ImageFiles {
    /// The open file of an image, and its plan.
    pub fn get(&self, image: ImageId) -> Option<Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&image).cloned()
    }

    /// When the first process mapped an image that was new then (nanoseconds of `CLOCK_BOOTTIME`), once.
    pub fn take_first_mapping(&self, image: ImageId) -> Option<u64> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&image)
    }

    /// Remembers that.
    pub fn set_first_mapping(&self, image: ImageId, at: u64) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(image, at);
    }

    pub(super) fn insert(&self, image: ImageId, file: Arc<File>, plan: Arc<ImagePlan>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(image, (file, plan));
    }

    pub(super) fn remove(&self, image: ImageId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&image);
        self.take_first_mapping(image);
    }
}
