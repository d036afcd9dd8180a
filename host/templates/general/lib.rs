//! SECOND_ACTION from a threshold on, else FIRST_ACTION.

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    if input.features.value >= input.parameters.threshold {
        Action::SECOND_VARIANT.because(Reason::Reached, 1.0)
    } else {
        Action::FIRST_VARIANT.because(Reason::Below, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_reached() {
        let input = Input::example(|input| input.features.value = 100.0);
        assert_eq!(decide(&input).action, Action::SECOND_VARIANT);
    }
}
