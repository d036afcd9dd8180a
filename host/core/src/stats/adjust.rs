//! Multiple comparisons: adjusted p-values.

/// Bonferroni's adjusted p-values, in the order given: each times their number, at most 1. Of all
/// comparisons whose adjusted value is at most α, the family-wise error rate is at most α.
pub fn bonferroni(p_values: &[f64]) -> Vec<f64> {
    p_values.iter().map(|p| (p * p_values.len() as f64).min(1.0)).collect()
}

/// Benjamini and Hochberg's adjusted p-values, in the order given (J. R. Statist. Soc. B 57, 1995).
/// Among comparisons whose adjusted value is at most α, the false discovery rate is at most α, if
/// they are independent or positively dependent: for exploration, not for decisions.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    // From the largest down, so that no value exceeds one of a higher rank.
    for (rank, place) in order.into_iter().enumerate().rev() {
        smallest = smallest.min(p_values[place] * p_values.len() as f64 / (rank + 1) as f64);
        adjusted[place] = smallest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_keep_their_places_and_their_order() {
        assert_eq!(bonferroni(&[0.01, 0.5, 0.03]), [0.03, 1.0, 0.09]);
        let adjusted = benjamini_hochberg(&[0.04, 0.01, 0.9, 0.03]);
        for (found, expected) in adjusted.iter().zip([0.16 / 3.0, 0.04, 0.9, 0.16 / 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty() && bonferroni(&[]).is_empty());
    }
}
