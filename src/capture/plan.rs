//! Which tensors a call copies, and where each lies in the buffer. Made at the first call and again
//! when the set of variables, a shape, a type or a role changes; shared with the worker, which
//! reads names and places from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::capture::samples::spread;
use crate::model::variable_info::{Role, VariableInfo};
use crate::options::Selection;
use crate::options::cadence::{AUTO_HISTOGRAMS, AUTO_SCALARS, Cadence, Schedule};
use crate::source::element_source::Stride;

/// A frozen variable of more elements than this is watched through a sample of about as many.
const WATCHED_ELEMENTS: usize = 1024;

/// While the stride between points is at most this, every call is copied, so that the newest call
/// can be shown when the run ends and verdicts see each step. Above, the two calls that make a
/// delta are copied and the others cost nothing.
const DENSE_STRIDE: u64 = 8;

/// Where calls are left out, histograms come at every so many of those that are not: each costs as
/// much as all the rest of a call.
const HISTOGRAM_THINNING: u64 = 4;

/// How much of a variable is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every element: statistics and histograms are written.
    Full,
    /// Every n-th element under a `sample_limit`: statistics are estimates.
    Sampled {
        /// The first, chosen by seed and name.
        start: usize,
        /// At least 2, and without a common divisor with the inner sizes, so that no column is
        /// favoured.
        stride: usize,
    },
    /// Every n-th element of a frozen variable, to see whether it moves. Nothing is written.
    Watched {
        /// 1 copies all.
        stride: usize,
    },
}

impl Extent {
    /// The elements that are copied.
    pub(crate) fn stride(self) -> Stride {
        let (start, step) = match self {
            Extent::Full => return Stride::ALL,
            Extent::Sampled { start, stride } => (start, stride),
            Extent::Watched { stride } => (0, stride),
        };
        Stride { start, step }
    }

    /// About `most` of `all` elements of a tensor of this shape.
    fn sampled(all: usize, most: usize, shape: &[i64], seed: u64, name: &str) -> Extent {
        if all <= most {
            return Extent::Full;
        }
        let sizes: Vec<usize> = shape
            .iter()
            .rev()
            .map(|&size| usize::try_from(size).unwrap_or(1))
            .collect();
        let inner = || {
            sizes.iter().scan(1, |product: &mut usize, &size| {
                *product = product.saturating_mul(size.max(1));
                Some(*product)
            })
        };
        let mut stride = all.div_ceil(most.max(1)).max(2);
        // The whole product is the last of these; a stride that shares a divisor with it alone does
        // no harm.
        while inner()
            .take(sizes.len().saturating_sub(1))
            .any(|size| gcd(size, stride) > 1)
        {
            stride += 1;
        }
        Extent::Sampled {
            start: spread(stride.min(all), 1, seed, name)
                .first()
                .copied()
                .unwrap_or(0),
            stride,
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The most elements of one tensor when all tensors together may have `limit`: small ones are taken
/// whole, and what they leave is shared evenly by the others.
fn share(limit: usize, sizes: impl Iterator<Item = usize>) -> usize {
    let mut sizes: Vec<usize> = sizes.collect();
    sizes.sort_unstable();
    let (mut rest, mut tensors) = (limit, sizes.len());
    for size in sizes {
        if size > rest / tensors.max(1) {
            break;
        }
        rest -= size;
        tensors -= 1;
    }
    (rest / tensors.max(1)).max(1)
}

/// One variable of a plan.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: Arc<str>,
    pub(crate) info: VariableInfo,
    pub(crate) extent: Extent,
    /// Index into [`Plan::classes`].
    pub(crate) class: usize,
    /// First byte in the buffer.
    pub(crate) offset: usize,
    /// Elements in the buffer.
    pub(crate) elements: usize,
    /// Elements of the tensor.
    pub(crate) all: usize,
    /// A buffer that is not logged, and not reported either: whether it moves is evidence for the
    /// layer that it belongs to.
    pub(crate) is_beside: bool,
    pub(crate) tie: Option<Tie>,
    moved: AtomicBool,
    in_turn: AtomicBool,
}

impl Variable {
    pub(crate) fn bytes(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.elements * self.info.dtype.size()
    }

    /// True when something is written of it; false for one that is only watched.
    pub(crate) fn is_logged(&self) -> bool {
        !matches!(self.extent, Extent::Watched { .. })
    }

    /// How many elements of the tensor each element in the buffer stands for.
    pub(crate) fn scale(&self) -> f64 {
        if self.elements == 0 {
            1.0
        } else {
            self.all as f64 / self.elements as f64
        }
    }

    /// The row-major number in the tensor of an element in the buffer.
    pub(crate) fn logical(&self, element: usize) -> usize {
        let stride = self.extent.stride();
        stride.start + element * stride.step
    }

    /// Size of the first dimension: output units of a linear or convolution layer. 1 below rank 2,
    /// and for a sample.
    pub(crate) fn rows(&self) -> usize {
        match self.info.shape.as_slice() {
            _ if self.extent != Extent::Full => 1,
            [rows, _, ..] => usize::try_from(*rows).unwrap_or(1).max(1),
            _ => 1,
        }
    }

    /// True when `other` is the same variable with the same elements, so that values of both can be
    /// compared.
    pub(crate) fn continues(&self, other: &Variable) -> bool {
        self.is_same_tensor(other) && self.extent == other.extent
    }

    /// True when `other`, of the same name, differs at most in which elements are copied.
    pub(crate) fn is_same_tensor(&self, other: &Variable) -> bool {
        self.info.dtype == other.info.dtype && self.info.shape == other.info.shape
    }
}

/// The cadences that some variables share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Class {
    pub(crate) scalars: Schedule,
    pub(crate) histograms: Schedule,
}

/// What a call writes for the variables of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Due {
    pub(crate) scalars: bool,
    pub(crate) histograms: bool,
}

/// A variable as a source showed it.
#[derive(Debug)]
pub(crate) struct SourceVariable {
    pub(crate) name: Arc<str>,
    pub(crate) info: VariableInfo,
    /// A buffer that is not logged: watched beside the model.
    pub(crate) is_beside: bool,
    pub(crate) tie: Option<Tie>,
}

/// One storage under two names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) with: Arc<str>,
    /// The other name comes first: the elements are counted there.
    pub(crate) is_second: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In natural order of their names.
    pub(crate) variables: Vec<Variable>,
    /// Class 0 is that of variables without options of their own.
    pub(crate) classes: Vec<Class>,
    pub(crate) bytes: usize,
    /// What the user should know of it once.
    pub(crate) notes: Vec<String>,
    /// The first of these, which hold all but buffers that are watched beside the model: running
    /// statistics move whenever a model is called, and that is no step.
    pub(crate) step_bytes: usize,
    expected_steps: Option<u64>,
    /// Set by the worker when a watched variable has moved, to be copied in full from now on, or is
    /// trained in turn.
    has_news: AtomicBool,
    /// Set by the worker while a fault is about to be confirmed.
    is_suspected: AtomicBool,
}

impl Plan {
    /// `followed` names the frozen variables that were seen to move. At most about `sample_limit`
    /// elements are copied.
    pub(crate) fn new(
        mut found: Vec<SourceVariable>,
        selection: &Selection,
        followed: &Followed,
        sample_limit: Option<usize>,
    ) -> Plan {
        found.sort_by(|a, b| alphanumeric_sort::compare_str(&a.name, &b.name));
        let mut plan = Plan {
            variables: Vec::with_capacity(found.len()),
            classes: vec![class(selection, None, None)],
            bytes: 0,
            step_bytes: 0,
            notes: Vec::new(),
            expected_steps: selection.options.expected_steps,
            has_news: AtomicBool::new(false),
            is_suspected: AtomicBool::new(false),
        };
        let watched = |found: &SourceVariable| {
            found.is_beside || (found.info.role == Role::Frozen && !followed.has_moved(&found.name))
        };
        let logged = found
            .iter()
            .filter(|found| !watched(found))
            .map(|found| found.info.elements());
        let most = sample_limit.map_or(usize::MAX, |limit| share(limit, logged));
        for found in found {
            let all = found.info.elements();
            let extent = if watched(&found) {
                Extent::Watched {
                    stride: all.div_ceil(WATCHED_ELEMENTS).max(1),
                }
            } else {
                Extent::sampled(
                    all,
                    most,
                    &found.info.shape,
                    selection.options.seed,
                    &found.name,
                )
            };
            plan.add(found, extent, selection);
        }
        plan.place(|variable| !variable.is_beside);
        plan.step_bytes = plan.bytes;
        plan.place(|variable| variable.is_beside);
        plan
    }

    /// Gives some variables their places behind those that have theirs.
    fn place(&mut self, is_next: impl Fn(&Variable) -> bool) {
        let next = self.variables.iter_mut();
        for variable in next.filter(|variable| is_next(variable)) {
            // Neighbours of one type touch, so that a device can send them in one piece.
            let size = variable.info.dtype.size();
            variable.offset = self.bytes.next_multiple_of(size);
            let bytes = variable.elements.saturating_mul(size);
            self.bytes = variable.offset.saturating_add(bytes);
        }
    }

    fn add(&mut self, found: SourceVariable, extent: Extent, selection: &Selection) {
        let all = found.info.elements();
        let elements = extent.stride().count(all);
        let layer = selection.layer(&found.name);
        let wanted = class(selection, layer.scalars, layer.histograms);
        let class = self
            .classes
            .iter()
            .position(|class| *class == wanted)
            .unwrap_or_else(|| {
                self.classes.push(wanted);
                self.classes.len() - 1
            });
        self.variables.push(Variable {
            name: found.name,
            info: found.info,
            extent,
            class,
            offset: 0,
            elements,
            all,
            is_beside: found.is_beside,
            tie: found.tie,
            moved: AtomicBool::new(false),
            in_turn: AtomicBool::new(false),
        });
    }

    /// What a call that is observed writes, where one of `thinning` is.
    pub(crate) fn due(&self, call: u64, thinning: u64) -> Vec<Due> {
        let is_due = |schedule: &Schedule, calls: u64| match thinning {
            1 => schedule.is_due(call),
            _ if schedule.is_explicit() => schedule.is_due(call),
            _ => call.is_multiple_of(calls) && schedule.is_due_within(calls, call),
        };
        let due = |class: &Class| Due {
            scalars: is_due(&class.scalars, thinning),
            histograms: is_due(&class.histograms, HISTOGRAM_THINNING * thinning),
        };
        self.classes.iter().map(due).collect()
    }

    /// True when the change that a call has made is to be observed, where one call of `thinning`
    /// may be; those that the user has asked for are.
    pub(crate) fn is_observed(&self, call: u64, thinning: u64) -> bool {
        let is_dense = self.stride(call) <= DENSE_STRIDE;
        if thinning == 1 {
            return is_dense || self.schedules().any(|schedule| schedule.is_due(call));
        }
        let is_asked_for = |schedule: Schedule| schedule.is_explicit() && schedule.is_due(call);
        let is_left_out =
            |schedule: Schedule| !schedule.is_explicit() && schedule.is_due_within(thinning, call);
        self.schedules().any(is_asked_for)
            || (call.is_multiple_of(thinning) && (is_dense || self.schedules().any(is_left_out)))
    }

    /// True where each call is observed.
    pub(crate) fn is_dense(&self, call: u64, thinning: u64) -> bool {
        thinning == 1 && self.stride(call) <= DENSE_STRIDE
    }

    /// True when the user has chosen all cadences, so that nothing can be thinned out.
    pub(crate) fn is_explicit(&self) -> bool {
        self.schedules().all(|schedule| schedule.is_explicit())
    }

    /// The shortest stride of any class at this call.
    pub(crate) fn stride(&self, call: u64) -> u64 {
        let strides = self.schedules().map(|schedule| schedule.stride(call));
        strides
            .filter(|&stride| stride > 0)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// What decides which calls are copied. Where nothing is ever written the report is still
    /// wanted.
    fn schedules(&self) -> impl Iterator<Item = Schedule> {
        let all = || {
            self.classes
                .iter()
                .flat_map(|class| [class.scalars, class.histograms])
        };
        let never = all().all(|schedule| schedule.stride(0) == 0);
        let report = Schedule::new(Cadence::Auto, AUTO_SCALARS, self.expected_steps);
        all().chain(never.then_some(report))
    }

    /// The worker's word that a watched variable moved.
    pub(crate) fn report_moved(&self, variable: &Variable) {
        variable.moved.store(true, Ordering::Relaxed);
        self.has_news.store(true, Ordering::Release);
    }

    /// The worker's word that a variable is trained although it is frozen at each call.
    pub(crate) fn report_in_turn(&self, variable: &Variable) {
        if variable.info.role == Role::Frozen {
            variable.in_turn.store(true, Ordering::Relaxed);
            self.has_news.store(true, Ordering::Release);
        }
    }

    /// The worker's word on whether a fault is about to be confirmed.
    pub(crate) fn report_suspicion(&self, is_suspected: bool) {
        self.is_suspected.store(is_suspected, Ordering::Relaxed);
    }

    pub(crate) fn is_suspected(&self) -> bool {
        self.is_suspected.load(Ordering::Relaxed)
    }

    pub(crate) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }
}

/// What is known of the variables of earlier plans, by name.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Frozen ones that moved.
    moved: HashSet<Arc<str>>,
    /// Those that are frozen and trained in turn: trained ones, whatever a call finds.
    in_turn: HashSet<Arc<str>>,
    /// Those that were frozen, or the other way round, once.
    changed: HashSet<Arc<str>>,
}

impl Followed {
    /// Takes what the worker has said of a plan.
    pub(crate) fn take(&mut self, plan: &Plan) {
        for variable in &plan.variables {
            if variable.moved.load(Ordering::Relaxed) {
                self.moved.insert(variable.name.clone());
            }
            if variable.in_turn.load(Ordering::Relaxed) {
                self.in_turn.insert(variable.name.clone());
            }
        }
    }

    pub(crate) fn has_moved(&self, name: &str) -> bool {
        self.moved.contains(name)
    }

    pub(crate) fn is_in_turn(&self, name: &str) -> bool {
        self.in_turn.contains(name)
    }

    /// Takes which roles a new plan has changed. True when one of them has changed before.
    pub(crate) fn compare_roles(&mut self, before: &Plan, after: &Plan) -> bool {
        let roles: HashMap<&str, Role> = before
            .variables
            .iter()
            .map(|variable| (&*variable.name, variable.info.role))
            .collect();
        let mut again = false;
        for variable in &after.variables {
            let role = roles.get(&*variable.name);
            if role.is_some_and(|role| *role != variable.info.role)
                && !self.changed.insert(variable.name.clone())
            {
                again |= self.in_turn.insert(variable.name.clone());
            }
        }
        again
    }
}

fn class(selection: &Selection, scalars: Option<Cadence>, histograms: Option<Cadence>) -> Class {
    let options = &selection.options;
    let expected = options.expected_steps;
    Class {
        scalars: Schedule::new(scalars.unwrap_or(options.scalars), AUTO_SCALARS, expected),
        histograms: Schedule::new(
            histograms.unwrap_or(options.histograms),
            AUTO_HISTOGRAMS,
            expected,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::types::DType;
    use crate::options::{LayerOptions, WeightOptions};

    fn found(name: &str, dtype: DType, shape: &[i64], role: Role) -> SourceVariable {
        SourceVariable {
            name: name.into(),
            info: VariableInfo {
                dtype,
                shape: shape.to_vec(),
                role,
                is_member: None,
            },
            is_beside: false,
            tie: None,
        }
    }

    fn plan(options: WeightOptions, found: Vec<SourceVariable>) -> Plan {
        let limit = options.sample_limit;
        let selection = Selection::new(options).expect("valid options");
        Plan::new(found, &selection, &Followed::default(), limit)
    }

    #[test]
    fn variables_are_in_natural_order_aligned_and_apart() {
        let plan = plan(
            WeightOptions::new(),
            vec![
                found("c10.weight", DType::F32, &[3, 5], Role::Trainable),
                found("c2.weight", DType::BF16, &[3], Role::Trainable),
                found("c2.bias", DType::F64, &[], Role::Trainable),
                found("c1.weight", DType::Bool, &[0, 4], Role::Trainable),
            ],
        );
        let names: Vec<&str> = plan
            .variables
            .iter()
            .map(|variable| &*variable.name)
            .collect();
        assert_eq!(names, ["c1.weight", "c2.bias", "c2.weight", "c10.weight"]);
        let mut end = 0;
        for variable in &plan.variables {
            assert!(
                variable.offset >= end
                    && variable.offset.is_multiple_of(variable.info.dtype.size())
            );
            end = variable.bytes().end;
        }
        assert_eq!(end, plan.bytes);
        assert_eq!(plan.variables[1].elements, 1);
        assert_eq!(plan.variables[3].rows(), 3);
    }

    #[test]
    fn frozen_variables_are_sampled_until_they_move() {
        let shape = [1000, 1000];
        let frozen = || vec![found("w", DType::F32, &shape, Role::Frozen)];
        let first = plan(WeightOptions::new(), frozen());
        assert!(first.variables[0].elements <= WATCHED_ELEMENTS);
        let moved = Followed {
            moved: HashSet::from([Arc::from("w")]),
            ..Followed::default()
        };
        let selection = Selection::new(WeightOptions::new()).expect("valid options");
        let second = Plan::new(frozen(), &selection, &moved, None);
        assert_eq!(second.variables[0].elements, 1_000_000);
        assert!(!second.variables[0].continues(&first.variables[0]));
    }

    #[test]
    fn layers_with_the_same_cadence_share_a_class() {
        let options = WeightOptions::new()
            .scalars(Cadence::Every(100))
            .for_matching("a*", LayerOptions::new().scalars(Cadence::EveryCall))
            .for_matching("b*", LayerOptions::new().samples(3));
        let variables =
            ["a1", "a2", "b1", "c1"].map(|name| found(name, DType::F32, &[1], Role::Trainable));
        let plan = plan(options, variables.into());
        let classes: Vec<usize> = plan
            .variables
            .iter()
            .map(|variable| variable.class)
            .collect();
        assert_eq!(classes, [1, 1, 0, 0]);
        assert_eq!(plan.stride(50), 1);
        assert!(!plan.due(3, 1)[0].scalars && plan.due(3, 1)[1].scalars);
    }

    #[test]
    fn of_calls_that_are_thinned_out_those_are_observed_that_the_user_asked_for() {
        let tensor = || vec![found("w", DType::F32, &[1], Role::Trainable)];
        let auto = plan(WeightOptions::new(), tensor());
        let observed = |plan: &Plan, thinning| -> Vec<u64> {
            let calls = 100..140;
            calls
                .filter(|&call| plan.is_observed(call, thinning))
                .collect()
        };
        assert_eq!(observed(&auto, 1).len(), 40);
        assert_eq!(observed(&auto, 16), [112, 128]);
        assert!(auto.due(112, 16)[0].scalars && !auto.due(112, 16)[0].histograms);
        assert!(auto.due(128, 16)[0].histograms && !auto.is_explicit());
        assert!(!auto.due(129, 16)[0].scalars && auto.is_dense(129, 1));
        let asked = WeightOptions::new().scalars(Cadence::Every(10));
        let asked = plan(asked, tensor());
        assert_eq!(observed(&asked, 16), [100, 110, 112, 120, 128, 130]);
        assert!(asked.due(130, 16)[0].scalars && !asked.due(112, 16)[0].scalars);
        assert!(!asked.is_dense(129, 16) && !asked.is_explicit());
        let each = WeightOptions::new()
            .scalars(Cadence::EveryCall)
            .histograms(Cadence::Every(0));
        assert!(plan(each, tensor()).is_explicit());
    }

    #[test]
    fn a_limit_is_shared_and_small_tensors_stay_whole() {
        assert_eq!(share(100, [10, 10, 1000, 1000].into_iter()), 40);
        assert_eq!(share(5000, [10, 10].into_iter()), 4980);
        assert_eq!(share(1, [10, 10].into_iter()), 1);
        assert_eq!(share(10, std::iter::empty()), 10);
    }

    #[test]
    fn a_sample_is_bounded_spread_and_favours_no_column() {
        let shape = [512, 256, 3, 3];
        let options = WeightOptions::new().sample_limit(10_000);
        let plan = plan(
            options,
            vec![
                found("large", DType::F32, &shape, Role::Trainable),
                found("small", DType::F32, &[100], Role::Trainable),
            ],
        );
        let total: usize = plan
            .variables
            .iter()
            .map(|variable| variable.elements)
            .sum();
        assert!((9_000..=10_000).contains(&total), "{total}");
        let [large, small] = plan.variables.as_slice() else {
            panic!("two variables")
        };
        assert_eq!(small.extent, Extent::Full);
        assert!(large.logical(large.elements - 1) < large.all);
        assert!((large.scale() * large.elements as f64 - large.all as f64).abs() < 1.0);
        let columns: HashSet<usize> = (0..large.elements)
            .map(|element| large.logical(element) % (256 * 9))
            .collect();
        assert_eq!(columns.len(), 256 * 9);
    }
}
