//! In which order the items of a strided view are read: arithmetic without memory.

/// In which order items follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The last axis changes fastest.
    C,
    /// The first axis changes fastest.
    Fortran,
}

/// Items that are equally far from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where the first one is, in bytes from the view's first item.
    pub(super) place: isize,
    /// Bytes from one to the next.
    pub(super) stride: isize,
    /// Bytes of each.
    pub(super) length: usize,
    /// How many.
    pub(super) count: usize,
}

/// A view's axes, those joined that lie in a row.
#[derive(Debug)]
pub(super) struct Plan {
    /// Length and stride, the slowest axis first; there is at least one.
    axes: Vec<(usize, isize)>,
    /// Bytes that lie in a row.
    unit: usize,
    len: u64,
}

impl Plan {
    /// Makes the plan of a view: length and stride in bytes of each axis, bytes of an item.
    pub(super) fn new(shape: &[(usize, isize)], item: usize, order: Order) -> Self {
        let count: u64 = shape.iter().map(|(length, _)| *length as u64).product();
        let mut axes: Vec<_> = shape.iter().copied().filter(|(length, _)| *length != 1).collect();
        if order == Order::Fortran {
            axes.reverse();
        }
        let mut unit = item;
        while let Some(&(length, stride)) = axes.last() {
            if usize::try_from(stride) != Ok(unit) {
                break;
            }
            unit *= length;
            axes.pop();
        }
        let mut joined: Vec<(usize, isize)> = Vec::with_capacity(axes.len());
        for (length, stride) in axes {
            match joined.last_mut() {
                Some(outer) if outer.1 == stride.wrapping_mul(length.cast_signed()) => {
                    *outer = (outer.0 * length, stride);
                }
                _ => joined.push((length, stride)),
            }
        }
        if joined.is_empty() {
            joined.push((1, 0));
        }
        Self { axes: joined, unit, len: count * item as u64 }
    }

    /// Returns how many bytes all items have.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Calls `take` with the places of `length` bytes from `offset` on; both within the view.
    pub(super) fn runs(&self, offset: u64, length: usize, mut take: impl FnMut(Run)) {
        let Some((&(inner, stride), outer)) = self.axes.split_last() else { return };
        let (mut left, unit) = (length, self.unit);
        if left == 0 || unit == 0 || inner == 0 {
            return;
        }
        let mut number = offset / unit as u64;
        let mut within = usize::try_from(offset % unit as u64).unwrap_or_default();
        let mut index = vec![0_usize; self.axes.len()];
        for (place, &(length, _)) in index.iter_mut().zip(&self.axes).rev() {
            *place = usize::try_from(number % length as u64).unwrap_or_default();
            number /= length as u64;
        }
        while left > 0 {
            let base: isize = index.iter().zip(&self.axes).map(|(at, axis)| at.cast_signed() * axis.1).sum();
            let last = index.len() - 1;
            let run = if within > 0 || left < unit {
                let length = (unit - within).min(left);
                let run = Run { place: base + within.cast_signed(), stride, length, count: 1 };
                index[last] += usize::from(within + length == unit);
                within = 0;
                run
            } else {
                let count = (inner - index[last]).min(left / unit);
                index[last] += count;
                Run { place: base, stride, length: unit, count }
            };
            take(run);
            left -= run.length * run.count;
            for axis in (0..outer.len()).rev() {
                if index[axis + 1] < self.axes[axis + 1].0 {
                    break;
                }
                index[axis + 1] = 0;
                index[axis] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Places of all bytes, the simplest way.
    fn places(shape: &[(usize, isize)], item: usize, order: Order) -> Vec<isize> {
        let mut axes = shape.to_vec();
        if order == Order::Fortran {
            axes.reverse();
        }
        let mut found = vec![0];
        for (length, stride) in axes {
            found = found
                .iter()
                .flat_map(|place| (0..length.cast_signed()).map(move |at| place + at * stride))
                .collect();
        }
        found.iter().flat_map(|place| (0..item.cast_signed()).map(move |byte| place + byte)).collect()
    }

    proptest! {
        #[test]
        fn every_piece_of_a_view_is_found(
            shape in prop::collection::vec((0_usize..5, prop_oneof![-64_isize..64, Just(4), Just(8), Just(16)]), 0..4),
            item in 1_usize..9,
            fortran: bool,
            cuts in prop::collection::vec(1_usize..40, 1..5),
        ) {
            let order = if fortran { Order::Fortran } else { Order::C };
            let plan = Plan::new(&shape, item, order);
            let expected = places(&shape, item, order);
            prop_assert_eq!(plan.len(), expected.len() as u64);
            let mut found = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while found.len() < expected.len() {
                let length = (*cuts.next().unwrap()).min(expected.len() - found.len());
                let before = found.len();
                plan.runs(before as u64, length, |run| {
                    for number in 0..run.count.cast_signed() {
                        let place = run.place + number * run.stride;
                        found.extend((0..run.length.cast_signed()).map(|byte| place + byte));
                    }
                });
                prop_assert_eq!(found.len(), before + length);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
