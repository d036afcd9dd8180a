//! What the specs of many tests have in common.

/// The spec of an experiment `e` at the decision point `p`: `p@1.0.0` against `q@1.0.0`, half each.
/// The first text holds more of its keys, the second the tables that follow the arms.
macro_rules! two_arms {
    ($keys:literal, $tables:literal) => {
        concat!(
            "id = \"e\"\ndecision_point = \"p\"\n",
            $keys,
            "\n[[arms]]\nname = \"control\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n",
            "\n[[arms]]\nname = \"next\"\nstrategy = \"q@1.0.0\"\nweight = 0.5\n\n",
            $tables
        )
    };
}

pub(crate) use two_arms;
