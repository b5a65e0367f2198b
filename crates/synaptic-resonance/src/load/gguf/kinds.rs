//! Names of the types of numbers that a GGUF file may have.

/// By number; types that the format has dropped have none.
const NAMES: [&str; 40] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64",
    "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "", "", "", "MXFP4",
];

/// The name of a type.
pub(super) fn name(id: u32) -> String {
    let name = NAMES.get(id as usize).filter(|name| !name.is_empty());
    name.map_or_else(|| format!("number {id}, which nobody knows"), |name| (*name).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_those_of_the_types_that_are_read() {
        for kind in crate::blocks::BlockType::ALL {
            assert_eq!(super::name(kind.id()), kind.name());
        }
        assert_eq!(super::name(14), "Q6_K");
        assert!(super::name(4).contains("number 4") && super::name(u32::MAX).contains("number"));
    }
}
