//! Firefox without a screen, with a profile of its own, that asks nobody but us for anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::{Lab, skip};
use crate::process::Process;

/// Where Debian's firefox-esr has its own NSS.
const FOLDER: &str = "/usr/lib/firefox-esr";

/// What it would load by itself: updates, lists, telemetry, probes of the network. There is nothing else on the way of a
/// test, but each of these would be a connection that takes its time.
const QUIET: [(&str, &str); 18] = [
    ("app.normandy.enabled", "false"),
    ("app.update.enabled", "false"),
    ("browser.newtabpage.activity-stream.feeds.system.topstories", "false"),
    ("browser.region.network.url", "\"\""),
    ("browser.safebrowsing.downloads.enabled", "false"),
    ("browser.safebrowsing.malware.enabled", "false"),
    ("browser.safebrowsing.phishing.enabled", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("dom.push.connection.enabled", "false"),
    ("extensions.getAddons.cache.enabled", "false"),
    ("extensions.update.enabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    // Else it opens connections that it may not need.
    ("network.http.speculative-parallel-limit", "0"),
    ("services.settings.server", "\"http://127.0.0.1:9/\""),
    ("toolkit.telemetry.enabled", "false"),
];

/// A Firefox with a profile in the lab.
pub struct Firefox {
    program: PathBuf,
    home: PathBuf,
    profile: PathBuf,
    /// The libssl3 that it brings.
    pub libssl: PathBuf,
}

impl Firefox {
    /// Debian's firefox-esr, that trusts what `authority` signed; None, with the reason printed, where it is missing.
    ///
    /// # Errors
    /// When it is missing and live tests must not be skipped, and when the profile cannot be made.
    pub fn new(lab: &Lab, authority: &Path) -> Result<Option<Self>> {
        let program = Path::new(FOLDER).join("firefox-esr");
        if !program.exists() {
            return skip("firefox-esr is missing: run cargo xtask setup");
        }
        let (home, profile) = (lab.path("home"), lab.path("profile"));
        std::fs::create_dir(&home)?;
        std::fs::create_dir(&profile)?;
        let preferences = QUIET.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
        std::fs::write(profile.join("user.js"), preferences.concat())?;
        let database = format!("sql:{}", profile.display());
        let mut create = Command::new("certutil");
        Process::run_ok(create.args(["-N", "-d", &database, "--empty-password"]))?;
        let mut trust = Command::new("certutil");
        trust.args(["-A", "-d", &database, "-n", "authority", "-t", "C,,", "-i"]).arg(authority);
        Process::run_ok(&mut trust)?;
        Ok(Some(Self { program, home, profile, libssl: Path::new(FOLDER).join("libssl3.so") }))
    }

    /// Loads a page, takes a picture of it, and ends.
    pub fn load(&self, url: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("HOME", &self.home)
            .args(["--headless", "--no-remote", "--profile"])
            .arg(&self.profile)
            .arg("--screenshot")
            .arg(self.home.join("page.png"))
            .arg(url);
        command
    }
}
