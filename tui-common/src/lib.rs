//! Types that cross the kernel border.
#![no_std]
