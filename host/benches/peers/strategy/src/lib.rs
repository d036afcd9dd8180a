//! The mean of thirty numbers against a threshold.

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    let f = &input.features;
    let numbers = [
        f.n01, f.n02, f.n03, f.n04, f.n05, f.n06, f.n07, f.n08, f.n09, f.n10, f.n11, f.n12, f.n13, f.n14, f.n15, f.n16,
        f.n17, f.n18, f.n19, f.n20, f.n21, f.n22, f.n23, f.n24, f.n25, f.n26, f.n27, f.n28, f.n29, f.n30,
    ];
    if numbers.iter().sum::<f64>() / numbers.len() as f64 > 0.5 {
        Action::Call.because(Reason::High, 1.0)
    } else {
        Action::NoContact.because(Reason::Low, 1.0)
    }
}
