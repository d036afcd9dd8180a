//! The balance of entries and who is left in, against what mpmath and scipy answer: `host/core/golden`.

use serde::Deserialize;

use super::balance::Balance;
use super::left_in::lopsided;
use crate::experiment::Experiment;
use crate::stats::tests::golden_packages::{cases, near};

#[derive(Deserialize)]
struct Entries {
    name: String,
    weights: Vec<Vec<f64>>,
    units: Vec<(usize, usize)>,
    log_factor: f64,
    p: f64,
}

#[test]
fn the_balance_of_entries_has_the_smallest_p_so_far() {
    for case in cases::<Entries>("balances") {
        let mut balance = Balance::new(case.weights);
        case.units.iter().for_each(|(arm, batch)| balance.enter(*arm, *batch));
        near(&case.name, "log factor", balance.log_factor, case.log_factor, [1e-9, 1e-9]);
        near(&case.name, "p", balance.p(), case.p, [1e-9, 0.0]);
    }
}

#[derive(Deserialize)]
struct LeftIn {
    name: String,
    mature: [u64; 2],
    control: u64,
    fewest: u64,
    most: u64,
}

#[test]
fn who_is_left_in_is_told_from_one_unit_on() {
    let spec = Experiment::parse(
        "id = \"e\"\ndecision_point = \"d\"\n[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n\
         [[arms]]\nname = \"b\"\nstrategy = \"q@1.0.0\"\nweight = 0.5\n[[metrics]]\nname = \"m\"\nrole = \"goal\"\n\
         outcome = \"o\"\nwindow = \"1d\"\naggregate = \"any\"\nmissing = \"drop\"\nplanned_units = 1000\n",
    )
    .expect("valid");
    for LeftIn { name, mature, control, fewest, most } in cases("left_in") {
        let is_told =
            |of_arm| lopsided(&spec, &spec.metrics[0], 1, [[mature[0], control], [mature[1], of_arm]]).is_some();
        assert!(!is_told(fewest) && !is_told(most), "{name}: {fewest} and {most} are told");
        assert!(fewest == 0 || is_told(fewest - 1), "{name}: one less than {fewest} is not told");
        assert!(most == mature[1] || is_told(most + 1), "{name}: one more than {most} is not told");
    }
}
