//! Which elements of a variable a picture of it shows: all of a small one, evenly spread ones of a
//! large one.

/// Elements of a picture side by side, and below each other, at most.
const MOST: usize = 512;

/// Elements of one filter side by side, and below each other, at most.
const MOST_OF_FILTER: usize = 64;

/// Filters of at most so many input channels share rows.
const FEW_INPUTS: usize = 4;

/// Indices of one dimension that are shown: evenly spread ones, the first among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    all: usize,
    shown: usize,
}

impl Axis {
    fn of(all: usize, most: usize) -> Axis {
        Axis {
            all,
            shown: all.min(most.max(1)),
        }
    }

    fn is_whole(self) -> bool {
        self.shown == self.all
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        // In u128, or a dimension of billions would overflow.
        let index = move |place: usize| place as u128 * self.all as u128 / self.shown as u128;
        (0..self.shown).map(move |place| index(place) as usize)
    }
}

/// A variable as rows of tiles: a row an output unit, a tile an input channel. The tiles of a
/// matrix are single elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TileSheet {
    shape: Vec<usize>,
    outputs: Axis,
    inputs: Axis,
    down: Axis,
    across: Axis,
    columns: usize,
}

impl TileSheet {
    /// `None` for what is no matrix and no filter: fewer than two dimensions, or no elements.
    pub(crate) fn of(shape: &[i64]) -> Option<TileSheet> {
        let shape: Vec<usize> = shape
            .iter()
            .map(|&size| usize::try_from(size).ok().filter(|&size| size > 0))
            .collect::<Option<_>>()?;
        // A list of one matrix is a matrix: embeddings of positions have such a shape.
        let sizes = match shape.as_slice() {
            [1, matrix @ ..] if matrix.len() == 2 => matrix,
            all => all,
        };
        let (&[outputs, inputs], filter) = sizes.split_first_chunk()?;
        let (&across, rest) = filter.split_last().unwrap_or((&1, &[]));
        let down = rest.iter().copied().fold(1, usize::saturating_mul);
        let (down, across) = (
            Axis::of(down, MOST_OF_FILTER),
            Axis::of(across, MOST_OF_FILTER),
        );
        let gap = usize::from(!filter.is_empty());
        let fits = |axis: Axis| MOST / (axis.shown + gap);
        let inputs = Axis::of(inputs, fits(across));
        let (most_across, most_down) = (fits(across), fits(down));
        let (columns, most_outputs) = if gap > 0 && inputs.all <= FEW_INPUTS {
            // As many outputs side by side as make it about a square.
            let most_beside = (most_across / inputs.shown).max(1);
            let beside = outputs.isqrt().clamp(1, most_beside);
            (beside * inputs.shown, beside * most_down)
        } else {
            (inputs.shown, most_down)
        };
        Some(TileSheet {
            outputs: Axis::of(outputs, most_outputs),
            inputs,
            down,
            across,
            columns,
            shape,
        })
    }

    pub(crate) fn is_matrix(&self) -> bool {
        self.down.all == 1 && self.across.all == 1
    }

    /// Elements of a tile side by side.
    pub(crate) fn width(&self) -> usize {
        self.across.shown
    }

    /// Elements of a tile below each other.
    pub(crate) fn height(&self) -> usize {
        self.down.shown
    }

    /// Tiles side by side and below each other.
    pub(crate) fn grid(&self) -> (usize, usize) {
        let tiles = self.outputs.shown * self.inputs.shown;
        (self.columns, tiles.div_ceil(self.columns))
    }

    /// How many elements are shown.
    pub(crate) fn elements(&self) -> usize {
        self.outputs.shown * self.inputs.shown * self.down.shown * self.across.shown
    }

    /// The row-major numbers of the elements that are shown, tile by tile.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        let TileSheet {
            outputs,
            inputs,
            down,
            across,
            ..
        } = *self;
        let rows = outputs.indices().flat_map(move |output| {
            let tiles = inputs.indices();
            tiles.map(move |input| output * inputs.all + input)
        });
        let lines = rows.flat_map(move |tile| {
            let lines = down.indices();
            lines.map(move |line| tile * down.all + line)
        });
        lines.flat_map(move |line| across.indices().map(move |place| line * across.all + place))
    }

    /// The shape, and what is left out.
    pub(crate) fn captions(&self) -> Vec<String> {
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let order = if self.is_matrix() {
            "rows x columns"
        } else if self.columns > self.inputs.shown {
            "filters row by row"
        } else {
            "a row of filters an output"
        };
        let mut lines = vec![format!("{}: {order}", sizes.join(" x "))];
        let parts = [
            (self.outputs, "rows"),
            (self.inputs, "columns"),
            (self.down, "lines of a filter"),
            (self.across, "columns of a filter"),
        ];
        for (axis, name) in parts.into_iter().filter(|(axis, _)| !axis.is_whole()) {
            lines.push(format!(
                "{} of {} {name}, evenly spread",
                axis.shown, axis.all
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(shape: &[i64]) -> TileSheet {
        TileSheet::of(shape).unwrap()
    }

    #[test]
    fn matrices_and_filters_are_shown_and_nothing_else_is() {
        assert_eq!(TileSheet::of(&[]), None);
        assert_eq!(TileSheet::of(&[7]), None);
        assert_eq!(TileSheet::of(&[7, 0]), None);
        let matrix = sheet(&[3, 4]);
        assert!(matrix.is_matrix());
        assert_eq!((matrix.grid(), matrix.elements()), ((4, 3), 12));
        assert_eq!(
            matrix.numbers().collect::<Vec<_>>(),
            (0..12).collect::<Vec<_>>()
        );
        let positions = sheet(&[1, 197, 768]);
        assert!(positions.is_matrix());
        let filters = sheet(&[6, 5, 3, 3]);
        assert_eq!(
            (filters.grid(), filters.width(), filters.height()),
            ((5, 6), 3, 3)
        );
        assert_eq!(
            filters.numbers().collect::<Vec<_>>(),
            (0..270).collect::<Vec<_>>()
        );
        let one_output = sheet(&[1, 8, 3, 3]);
        assert_eq!((one_output.grid(), one_output.height()), ((8, 1), 3));
        let depthwise = sheet(&[32, 1, 3, 3]);
        assert_eq!(depthwise.grid(), (5, 7), "filters of one input share rows");
        let signal = sheet(&[8, 2, 5]);
        assert_eq!((signal.width(), signal.height()), (5, 1));
    }

    #[test]
    fn large_ones_are_reduced_and_say_so() {
        let embedding = sheet(&[50_000, 768]);
        assert_eq!(embedding.grid(), (512, 512));
        let numbers: Vec<usize> = embedding.numbers().collect();
        assert_eq!(numbers.len(), embedding.elements());
        assert!(
            numbers.is_sorted() && numbers[0] == 0 && numbers[numbers.len() - 1] < 50_000 * 768
        );
        let captions = embedding.captions();
        assert_eq!(
            captions,
            [
                "50000 x 768: rows x columns",
                "512 of 50000 rows, evenly spread",
                "512 of 768 columns, evenly spread"
            ]
        );
        for shape in [
            &[512, 512, 3, 3][..],
            &[1, 1, 1 << 30],
            &[4096, 1, 7, 7],
            &[1 << 30, 1 << 30],
            &[2, 3, 100, 200],
        ] {
            let sheet = sheet(shape);
            let ((columns, rows), gap) = (sheet.grid(), usize::from(!sheet.is_matrix()));
            assert!(columns * (sheet.width() + gap) <= MOST, "{shape:?}");
            assert!(rows * (sheet.height() + gap) <= MOST, "{shape:?}");
            assert_eq!(
                sheet.numbers().take(sheet.elements()).count(),
                sheet.elements()
            );
        }
    }
}
