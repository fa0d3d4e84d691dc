//! Stands in for `tensor` without the `tch` feature: there are no tensors, so nothing here can be called, and no other
//! file needs to know.

use std::ops::Range;

use crate::error::Result;
use crate::source::values::{Facts, Glimpse, Look, Way};

/// No value of this type exists.
#[derive(Debug)]
pub enum Tensor {}

/// A tensor of one element.
#[expect(dead_code, reason = "there are no tensors to fetch")]
pub(crate) enum Fetched {
    Now(f64),
    Later(Tensor),
}

pub(crate) fn requires_grad(tensor: &Tensor) -> bool {
    match *tensor {}
}

pub(crate) fn inspect(_name: &str, tensor: &Tensor) -> Result<Facts> {
    match *tensor {}
}

/// Nobody else's threads.
pub(crate) fn threads() -> usize {
    1
}

pub(crate) fn copy(
    _name: &str,
    tensor: &Tensor,
    _facts: &Facts,
    _way: Way,
    _target: &mut [u8],
) -> Result<bool> {
    match *tensor {}
}

pub(crate) fn copy_strided(
    _name: &str,
    tensor: &Tensor,
    _facts: &Facts,
    _steps: (usize, usize),
    _target: &mut [u8],
) -> Result<bool> {
    match *tensor {}
}

/// A tensor on another device.
#[derive(Debug)]
pub(crate) enum Remote {}

pub(crate) fn remote(
    _name: &str,
    tensor: &Tensor,
    _facts: &Facts,
    _steps: (usize, usize),
    _bytes: Range<usize>,
) -> Result<Option<Remote>> {
    match *tensor {}
}

pub(crate) fn fetch_remotes(_remotes: Vec<Remote>, _target: &mut [u8]) -> Result<()> {
    Ok(())
}

pub(crate) fn memory<'a>(tensor: &'a Tensor, _facts: &Facts) -> Option<&'a [u8]> {
    match *tensor {}
}

/// Nothing to look at.
pub(crate) struct Glimpser;

impl Glimpser {
    pub(crate) fn new(_turn: u64) -> Glimpser {
        Glimpser
    }

    pub(crate) fn look(&mut self, _place: usize, tensor: &Tensor, _facts: &Facts) -> Glimpse {
        match *tensor {}
    }

    pub(crate) fn finish(self, _looks: &mut [Look]) {}
}

pub(crate) fn gradient(tensor: &Tensor) -> Option<Tensor> {
    match *tensor {}
}

pub(crate) fn fetch_scalar(_tag: &str, tensor: &Tensor) -> Result<Fetched> {
    match *tensor {}
}

pub(crate) fn read_scalar(_tag: &str, tensor: &Tensor) -> Result<f64> {
    match *tensor {}
}
