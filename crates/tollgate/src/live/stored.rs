//! What makes a record of the live configuration invalid, said before anything is written.

use tollgate_policy::budget::check_budgets;
use tollgate_queue::directory::{Organisation, TeamRecord, WEIGHT_MAX};
use tollgate_types::{Class, Target};

/// Says what is wrong with a team's record.
///
/// # Errors
/// What is wrong, with the field.
pub fn check_team(record: &TeamRecord) -> Result<(), String> {
    weight("weight", record.weight)?;
    check_budgets(&record.budgets).map_err(|error| error.to_string())?;
    record.limits.check()?;
    for (key, limits) in &record.key_limits {
        limits.check().map_err(|why| format!("keys.{key}: {why}"))?;
    }
    Ok(())
}

/// Says what is wrong with the organisation's record.
///
/// # Errors
/// What is wrong, with the field.
pub fn check_organisation(record: &Organisation) -> Result<(), String> {
    for class in Class::ALL {
        weight(&format!("class_weights.{class}"), record.class_weights.of(class))?;
    }
    if let Some(budget) = record.budgets.iter().find(|budget| budget.on != Target::Owner) {
        return Err(format!("'{}' is of a team; everybody together has only `owner`", budget.on));
    }
    check_budgets(&record.budgets).map_err(|error| error.to_string())
}

fn weight(name: &str, weight: u32) -> Result<(), String> {
    if (1..=WEIGHT_MAX).contains(&weight) {
        Ok(())
    } else {
        Err(format!("`{name}` is {weight}, which is not from 1 to {WEIGHT_MAX}"))
    }
}
