//! The pages made of committed summaries: what they say of each claim, and where that comes from.

use anyhow::Result;

use super::*;

const README: &str =
    "# Ours\n\n<!-- papers:begin -->\n<!-- papers:end -->\n\n<!-- results:begin -->\n<!-- results:end -->\n\nEnd.\n";

/// The made-up suite's file with more keys in its claims, in their order.
fn told(text: &str, claims: [&str; 3]) -> String {
    let parts: Vec<&str> = text.split("[[claim]]\n").collect();
    assert_eq!(parts.len(), 4, "{text}");
    let more = claims.iter().zip(&parts[1..]).map(|(more, rest)| format!("[[claim]]\n{more}\n{rest}"));
    format!("{}{}", parts[0], more.collect::<String>())
}

#[test]
fn what_a_suite_says_of_a_claim_may_be_newer_than_its_runs() -> Result<()> {
    let (_runs, report) = written(&Fake::default())?;
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("README.md"), README)?;
    let file = sign(&report.place, root.path())?;
    let text = fs::read_to_string(&file)?;
    let publish = |claims: [&str; 3]| -> Result<()> {
        fs::write(&file, told(&text, claims))?;
        publish::publish(&report.place, root.path()).map(drop)
    };
    // What is judged is part of the run.
    let error = publish(["equal_within = 0.01", "", ""]).unwrap_err().to_string();
    assert!(error.contains("the claims or the printed values"), "{error}");
    publish([
        "speaks = \"for\"\nfront = \"forgets less\"\nprice = [{ arm = \"hlop\", metric = \"acc\" }, { arm = \"naive\", metric = \
         \"acc\" }]",
        "speaks = \"for\"",
        "speaks = \"against\"",
    ])?;
    let page = |name: &str| fs::read_to_string(root.path().join(name));
    let summary = page("experiments/results/quick/summary.json")?;
    assert!(
        summary.contains("\"speaks\": \"against\"") && summary.contains("\"front\": \"forgets less\""),
        "{summary}"
    );

    let mean = |arm: usize| format::number(report.experiments[0].arms[arm].summary("acc").unwrap().mean, "fraction");
    let price = format!("Price: ACC: hlop {} %, naive {} %", mean(1), mean(0));
    let results = page("docs/results.md")?;
    let (of_it, against) = results.split_once("### Against the paper").unwrap();
    assert!(of_it.contains("### For the paper") && of_it.contains(&format!("naive training<br>{price} |")), "{of_it}");
    assert!(against.contains("QR ends higher than the paper's form"), "{against}");
    for name in ["README.md", "docs/results.md"] {
        assert!(page(name)?.contains("2 printed values compared: 2 reproduced"), "{}", page(name)?);
    }
    let readme = page("README.md")?;
    assert!(readme.contains("2 printed values are compared, of 1 paper: 2 reproduced."), "{readme}");
    assert!(readme.contains("| 2 hold<br>✓ forgets less (price: ACC: hlop "), "{readme}");
    assert!(
        readme.contains("**For the paper: 2 hold.**\n\n- ✓ Forgets less. BWT: hlop ") && readme.contains(&price),
        "{readme}"
    );
    // The others are on the page of results alone.
    assert!(!readme.contains("QR ends higher"), "{readme}");

    // Said otherwise since: the pages follow, and no run does.
    let runs = fs::read(report.place.join("plan.json"))?;
    fs::write(&file, told(&text, ["speaks = \"for\"", "speaks = \"control\"", ""]))?;
    assert!(pages::check_published(root.path()).unwrap_err().to_string().contains("not what the summaries give"));
    pages::write(root.path())?;
    let results = page("docs/results.md")?;
    assert!(results.contains("### Controls") && results.contains("### Not said for what"), "{results}");
    assert!(!results.contains("Price:") && !page("README.md")?.contains("forgets less"), "{results}");
    assert_eq!(fs::read(report.place.join("plan.json"))?, runs);
    Ok(())
}

/// A claim whose words were mended after its runs is the same claim; one that compares something else is not.
#[test]
fn a_claim_is_known_by_what_it_compares() -> Result<()> {
    let (_runs, mut report) = written(&Fake::default())?;
    let mut claims: Vec<_> = report.claims.iter().map(|line| line.claim.clone()).collect();
    claims[0].text = "In other words".into();
    claims[0].speaks = Some(Speaks::For);
    claims[1].margin = 0.5;
    claims[1].speaks = Some(Speaks::Against);
    pages::tell(&mut report, &claims);
    let found: Vec<_> = report.claims.iter().map(|line| (line.claim.text.as_str(), line.claim.speaks)).collect();
    assert_eq!(found[0], ("In other words", Some(Speaks::For)));
    assert_eq!(found[1].1, None);
    Ok(())
}

/// Both generated parts of the project's README; a made-up one may have the second alone.
#[test]
fn the_readme_shows_the_papers_and_what_came_of_them() -> Result<()> {
    let readme = fs::read_to_string(root::workspace().join("README.md"))?;
    let places = ["<!-- papers:begin -->", "<!-- papers:end -->", "<!-- results:begin -->", "<!-- results:end -->"];
    let places: Vec<usize> = places.iter().map(|marker| readme.find(marker).expect(marker)).collect();
    assert!(places.is_sorted(), "{places:?}");
    Ok(())
}
