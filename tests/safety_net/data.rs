//! Numbers that are the same on each machine: a generator of integers, and plain IEEE arithmetic.

use tch_tensorboard::{NamedTensors, Result, Role, Visitor};

/// Knuth's MMIX generator; only its high bits are used.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// From -1 up to 1, a multiple of 2^-23.
    pub fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }

    pub fn vec(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Named variables under a training that random steps stand for.
pub struct Model {
    pub variables: Vec<(String, Vec<f32>)>,
    numbers: Numbers,
}

impl Model {
    /// The variables of these names and lengths.
    pub fn new<N: Into<String>>(shapes: impl IntoIterator<Item = (N, usize)>, seed: u64) -> Model {
        let mut numbers = Numbers::new(seed);
        let variables = shapes
            .into_iter()
            .map(|(name, count)| (name.into(), numbers.vec(count)))
            .collect();
        Model { variables, numbers }
    }

    /// A small one, as most tests need it.
    pub fn small(seed: u64) -> Model {
        let shapes = [
            ("conv1.weight", 36),
            ("conv1.bias", 4),
            ("fc10.weight", 120),
            ("fc2.weight", 50),
        ];
        Model::new(shapes, seed)
    }

    /// Moves all elements of all variables by up to `by`.
    pub fn step(&mut self, by: f32) {
        for (_, values) in &mut self.variables {
            for value in values {
                *value += by * self.numbers.next();
            }
        }
    }

    pub fn get(&mut self, name: &str) -> &mut Vec<f32> {
        let mut all = self.variables.iter_mut();
        &mut all.find(|(known, _)| known == name).expect("a variable").1
    }
}

impl NamedTensors for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.variables.visit(visitor)
    }
}

/// Variables that have roles.
pub struct Roles(pub Vec<(&'static str, Vec<f32>, Role)>);

impl NamedTensors for Roles {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        for (name, values, role) in &self.0 {
            visitor.variable(name, values, *role);
        }
        Ok(())
    }
}
