//! The Mesh dashboard: points and triangles in space, a tag for each part.

use prost::Message;

use crate::error::{Error, Result};
use crate::kernel::{Elements, Kernels};
use crate::model::plugin::Plugin;
use crate::proto::mesh_plugin_data::ContentType;
use crate::proto::summary::value;
use crate::proto::{DataType, MeshPluginData};
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementLayout;
use crate::source::values::{ValueSource, Values};
use crate::summary::Payload;

/// What errors call it.
const KIND: &str = "mesh";

/// Vertices of all meshes of a batch at most: the page gets them as text, and draws each frame.
const MOST_VERTICES: usize = 2_000_000;

/// Points in space, with triangles and colours or without: what
/// [`Logger::log_mesh`](crate::Logger::log_mesh) takes.
///
/// A tensor may have the shape `[n, 3]`, or `[batch, n, 3]` for several meshes that the page shows
/// one by one; then triangles and colours have as many. A slice is one mesh, row by row.
///
/// ```
/// use tch_tensorboard::Mesh;
///
/// let corners = [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
/// let faces = [0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3];
/// let colors = [255_u8, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
/// let tetrahedron = Mesh::new(&corners).faces(&faces).colors(&colors);
/// # let _ = tetrahedron;
/// ```
pub struct Mesh<'a> {
    vertices: ValueSource<'a>,
    faces: Option<ValueSource<'a>>,
    colors: Option<ValueSource<'a>>,
    config: String,
}

impl<'a> Mesh<'a> {
    /// A cloud of points: x, y and z of each.
    pub fn new<V: Values + ?Sized>(vertices: &'a V) -> Mesh<'a> {
        Mesh {
            vertices: vertices.source(),
            faces: None,
            colors: None,
            config: String::new(),
        }
    }

    /// Triangles: three places of vertices each, counted from 0.
    #[must_use]
    pub fn faces<V: Values + ?Sized>(mut self, faces: &'a V) -> Mesh<'a> {
        self.faces = Some(faces.source());
        self
    }

    /// Red, green and blue of each vertex, from 0 to 255.
    #[must_use]
    pub fn colors<V: Values + ?Sized>(mut self, colors: &'a V) -> Mesh<'a> {
        self.colors = Some(colors.source());
        self
    }

    /// Camera, lights and material for three.js, a JSON object:
    /// `{"camera": {"cls": "PerspectiveCamera", "fov": 75}}`.
    #[must_use]
    pub fn config_json(mut self, config: impl Into<String>) -> Mesh<'a> {
        self.config = config.into();
        self
    }

    /// Looks at shapes and types, without copying anything.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what is no mesh, [`Error::UnsupportedTensor`] for what cannot be
    /// read.
    pub(crate) fn inspect(self, tag: &str) -> Result<InspectedMesh<'a>> {
        let invalid = |reason: String| Error::value(KIND, tag, reason);
        let parts = [
            (ContentType::Vertex, Some(self.vertices)),
            (ContentType::Face, self.faces),
            (ContentType::Color, self.colors),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(of, source)| Some((of, source?)));
        let parts = parts.map(|(of, source)| {
            let layout = source.elements().inspect(tag)?;
            let shape = rows_of_three(&layout.shape).map_err(|shape| {
                invalid(format!(
                    "has {} of shape {shape:?}; give [n, 3], or [batch, n, 3]",
                    name(of)
                ))
            })?;
            Ok(MeshPart {
                of,
                source,
                layout,
                shape,
            })
        });
        let parts: Vec<MeshPart<'a>> = parts.collect::<Result<_>>()?;
        let shape = |of| {
            parts
                .iter()
                .find(|part| part.of == of)
                .map(|part| part.shape)
        };
        let vertices = shape(ContentType::Vertex).unwrap_or_default();
        let (batch, count) = vertices;
        match batch.saturating_mul(count) {
            0 => {
                return Err(invalid(
                    "has no vertices; log it when there are some".into(),
                ));
            }
            all if all > MOST_VERTICES => {
                return Err(invalid(format!(
                    "has {all} vertices; TensorBoard's page takes {MOST_VERTICES} at most: log a \
                     sample"
                )));
            }
            _ => {}
        }
        if shape(ContentType::Color).is_some_and(|colors| colors != vertices) {
            return Err(invalid(format!(
                "has colours of other shape than its {count} vertices; give one for each"
            )));
        }
        if let Some((faces, _)) = shape(ContentType::Face).filter(|(faces, _)| *faces != batch) {
            return Err(invalid(format!(
                "has triangles of {faces} meshes and vertices of {batch}; give as many"
            )));
        }
        if !self.config.is_empty() {
            let config: Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_str(&self.config);
            config.map_err(|error| {
                invalid(format!(
                    "has a configuration that is no JSON object: {error}"
                ))
            })?;
        }
        Ok(InspectedMesh {
            parts,
            config: self.config,
        })
    }
}

impl std::fmt::Debug for Mesh<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Mesh");
        shown
            .field("has_faces", &self.faces.is_some())
            .field("has_colors", &self.colors.is_some());
        shown.finish_non_exhaustive()
    }
}

/// Batch and rows; the shape when it is another.
fn rows_of_three(shape: &[i64]) -> Result<(usize, usize), &[i64]> {
    let size = |size: i64| usize::try_from(size).ok();
    let rows = match *shape {
        [all] if all % 3 == 0 => size(all / 3).map(|rows| (1, rows)),
        [rows, 3] => size(rows).map(|rows| (1, rows)),
        [batch, rows, 3] => size(batch).zip(size(rows)),
        _ => None,
    };
    rows.ok_or(shape)
}

fn name(of: ContentType) -> &'static str {
    match of {
        ContentType::Vertex => "vertices",
        ContentType::Face => "triangles",
        ContentType::Color => "colours",
        ContentType::Undefined => "parts",
    }
}

struct MeshPart<'a> {
    of: ContentType,
    source: ValueSource<'a>,
    layout: ElementLayout,
    shape: (usize, usize),
}

/// A mesh that can be logged.
pub(crate) struct InspectedMesh<'a> {
    parts: Vec<MeshPart<'a>>,
    config: String,
}

impl InspectedMesh<'_> {
    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.layout.bytes()).sum()
    }

    /// The parts with the tags of each, of a mesh of this whole name.
    ///
    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(&self, name: &str) -> Result<Vec<(String, MeshValues)>> {
        let bits = self.parts.iter().map(|part| 1 << i32::from(part.of) as u32);
        let components = bits.fold(0, |all, bit: u32| all | bit);
        let vertices = self.parts.first().map_or(0, |part| part.shape.1);
        let copied = self.parts.iter().map(|part| {
            let values = CopiedValues::of(name, part.source.elements(), &part.layout)?;
            let tag = format!("{name}_{}", part.of.as_str_name());
            let values = MeshValues {
                of: part.of,
                name: name.to_owned(),
                config: self.config.clone(),
                shape: part.shape,
                vertices,
                components,
                values,
            };
            Ok((tag, values))
        });
        copied.collect()
    }
}

/// A part of a mesh that waits for the worker.
pub(crate) struct MeshValues {
    of: ContentType,
    name: String,
    config: String,
    shape: (usize, usize),
    /// Those of one mesh, which triangles are of.
    vertices: usize,
    components: u32,
    values: CopiedValues,
}

impl Payload for MeshValues {
    fn plugin(&self) -> Plugin {
        Plugin::Mesh
    }

    fn bytes(&self) -> usize {
        self.values.len()
    }

    fn content(&self) -> Vec<u8> {
        let (batch, rows) = self.shape;
        let shape = [batch, rows, 3].map(|size| i32::try_from(size).unwrap_or(i32::MAX));
        let content = MeshPluginData {
            name: self.name.clone(),
            content_type: self.of.into(),
            json_config: self.config.clone(),
            shape: shape.to_vec(),
            components: self.components,
            ..Default::default()
        };
        content.encode_to_vec()
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let elements = Elements::from_bytes(self.values.dtype(), self.values.as_bytes());
        let numbers = elements
            .map(|elements| elements.to_f64s(0, 1))
            .unwrap_or_default();
        let shape = [self.shape.0, self.shape.1, 3];
        let invalid = |reason: String| Error::value(KIND, &self.name, reason);
        let (dtype, content) = match self.of {
            ContentType::Face => {
                let most = self.vertices as f64;
                let is_place =
                    |number: &f64| *number >= 0.0 && *number < most && number.fract() == 0.0;
                if let Some(other) = numbers.iter().find(|number| !is_place(number)) {
                    return Err(invalid(format!(
                        "has a triangle with vertex {other} of {}; they count from 0",
                        self.vertices
                    )));
                }
                let bytes = |number: f64| (number as i32).to_le_bytes();
                (
                    DataType::DtInt32,
                    numbers.into_iter().flat_map(bytes).collect(),
                )
            }
            ContentType::Color => {
                // Beyond is taken as the nearest within, and NaN as 0.
                let levels = numbers.into_iter().map(|number| number as u8);
                (DataType::DtUint8, levels.collect())
            }
            ContentType::Vertex | ContentType::Undefined => {
                if let Some(other) = numbers.iter().find(|number| !number.is_finite()) {
                    return Err(invalid(format!(
                        "has a coordinate of {other}, with which the page draws nothing"
                    )));
                }
                let bytes = |number: f64| (number as f32).to_le_bytes();
                (
                    DataType::DtFloat,
                    numbers.into_iter().flat_map(bytes).collect(),
                )
            }
        };
        Ok(Some(super::tensor(dtype, &shape, content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(mesh: Mesh<'_>) -> Vec<(String, Result<Vec<u8>>)> {
        let parts = mesh.inspect("m").unwrap().copy("m").unwrap().into_iter();
        let parts = parts.map(|(tag, part)| {
            let value = Box::new(part).into_value(&tag, &mut Kernels::new(1));
            let content = value.map(|value| match value {
                Some(value::Value::Tensor(tensor)) => tensor.tensor_content,
                other => panic!("{other:?}"),
            });
            (tag, content)
        });
        parts.collect()
    }

    #[test]
    fn parts_have_tags_and_types_of_their_own() {
        let (points, faces) = ([0.5_f64, 1.0, 2.0, 3.0, 4.0, 5.0], [0_i64, 1, 1]);
        let colors = [-3.0_f32, 127.9, 300.0, f32::NAN, 1.0, 255.0];
        let parts = values(Mesh::new(&points).faces(&faces).colors(&colors));
        let tags: Vec<&str> = parts.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["m_VERTEX", "m_FACE", "m_COLOR"]);
        let floats: Vec<u8> = points
            .iter()
            .flat_map(|x| (*x as f32).to_le_bytes())
            .collect();
        assert_eq!(parts[0].1.as_ref().unwrap(), &floats);
        assert_eq!(
            parts[1].1.as_ref().unwrap(),
            &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
        );
        assert_eq!(parts[2].1.as_ref().unwrap(), &[0, 127, 255, 0, 1, 255]);
        let mesh = Mesh::new(&points).faces(&faces).inspect("m").unwrap();
        let content = mesh.copy("m").unwrap()[1].1.content();
        let content = MeshPluginData::decode(&content[..]).unwrap();
        assert_eq!(
            (content.components, &content.shape[..]),
            (6, &[1, 1, 3][..])
        );
    }

    #[test]
    fn what_is_no_mesh_is_an_error_that_names_the_tag() {
        let (none, two, four) = ([0.0_f32; 0], [0.0_f32; 6], [0_u8; 4]);
        for (mesh, wanted) in [
            (Mesh::new(&none), "has no vertices"),
            (Mesh::new(&four), "has vertices of shape [4]"),
            (Mesh::new(&two).colors(&[0_u8; 3]), "colours of other shape"),
            (Mesh::new(&two).faces(&four), "has triangles of shape [4]"),
            (Mesh::new(&two).config_json("[1]"), "no JSON object"),
        ] {
            let reason = mesh.inspect("m").err().expect(wanted).to_string();
            assert!(
                reason.starts_with("mesh \"m\": ") && reason.contains(wanted),
                "{reason}"
            );
        }
        let beyond = values(Mesh::new(&two).faces(&[0, 1, 2])).remove(1).1;
        assert!(beyond.unwrap_err().to_string().contains("vertex 2 of 2"));
        let wild = [f32::NAN; 3];
        let nowhere = values(Mesh::new(&wild)).remove(0).1;
        assert!(
            nowhere
                .unwrap_err()
                .to_string()
                .contains("coordinate of NaN")
        );
    }
}
