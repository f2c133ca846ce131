//! Owns a headless Chromium and what a test asks of it. It speaks the DevTools protocol over the
//! browser's two pipes: no port is opened, no driver program is needed. It knows no page.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest wait for an answer of the browser; its start is the slowest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Names under which it is installed.
const NAMES: [&str; 3] = ["chromium", "chromium-headless-shell", "google-chrome"];
/// The browser takes commands on descriptor 3 and answers on 4: they become the two pipes here.
const PIPES: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2";

/// A browser with one open page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    profile: PathBuf,
    session: Option<String>,
    next_id: u64,
    complaints: Vec<String>,
}

/// The one that `PGM_CHROMIUM` names, or else that is on the path.
fn program() -> Option<String> {
    if let Ok(named) = std::env::var("PGM_CHROMIUM") {
        return Some(named);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: &&str| std::env::split_paths(&folders).any(|path| path.join(name).exists());
    NAMES.into_iter().find(is_there).map(str::to_owned)
}

/// False, with a word about it, where there is none and tests/setup.sh cannot install any: on
/// Ubuntu, which has it as a snap only.
///
/// # Panics
/// When it is missing elsewhere.
pub fn is_installed() -> bool {
    if program().is_some() {
        return true;
    }
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let excused = system.lines().any(|line| line == "ID=ubuntu");
    assert!(excused, "Chromium is not installed; make test does it");
    println!("left out: Ubuntu has no package of Chromium; PGM_CHROMIUM can name one");
    false
}

impl Browser {
    /// Starts the browser with an empty page.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub async fn start(test: &str) -> Browser {
        let profile = crate::process::scratch_file(&format!("{test}.chromium"));
        let log = crate::process::scratch_file(&format!("{test}.chromium.log"));
        let mut command = Command::new("sh");
        command.args(["-c", PIPES, &program().expect("`is_installed` was asked")]);
        command.args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]);
        command.args(["--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars"]);
        command.args(["--disable-background-networking", "--disable-component-update"]);
        // Its sandbox needs privileges that containers lack; it only sees the test's own page.
        command.arg("--no-sandbox");
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(std::fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("sh");
        let _ = std::fs::remove_file(log);
        let commands = child.stdin.take().expect("invariant: piped");
        let answers = BufReader::new(child.stdout.take().expect("invariant: piped"));
        let (session, complaints) = (None, Vec::new());
        let mut browser =
            Browser { child, commands, answers, profile, session, next_id: 0, complaints };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Panics
    /// When the browser refuses it or does not answer.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let mut command = json!({"id": self.next_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        self.commands.write_all(&text).await.expect("the browser runs");
        loop {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.next()).await;
            let answer = answer.unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"].as_u64() == Some(self.next_id) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    async fn next(&mut self) -> Value {
        let mut text = Vec::new();
        self.answers.read_until(0, &mut text).await.expect("the browser runs");
        assert_eq!(text.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Keeps what a page should never cause: errors, and violations of its own policy.
    fn note(&mut self, event: &Value) {
        let (method, params) = (event["method"].as_str().unwrap_or_default(), &event["params"]);
        let bad = match method {
            "Log.entryAdded" => params["entry"]["level"] == "error",
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
            _ => false,
        };
        if bad {
            self.complaints.push(format!("{method} {params}"));
        }
    }

    /// Errors that the page has caused since the last call.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Goes to `url` and waits until it is loaded.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert!(opened["errorText"].is_null(), "{url}: {}", opened["errorText"]);
        while self.eval("document.readyState").await != "complete" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of an expression on the page.
    ///
    /// # Panics
    /// When it throws.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let found = self.call("Runtime.evaluate", params).await;
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub async fn wait(&mut self, expression: &str, limit: Duration) {
        let deadline = std::time::Instant::now() + limit;
        while self.eval(expression).await != true {
            let late = std::time::Instant::now() > deadline;
            assert!(!late, "not within {limit:?}: {expression}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives the window a width in CSS pixels, and a scheme of colours: `light` or `dark`.
    pub async fn look(&mut self, width: u32, scheme: &str) {
        let size = json!({
            "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]})).await;
    }

    /// Writes a picture of the whole page to `file`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub async fn picture(&mut self, file: &Path) {
        let metrics = self.call("Page.getLayoutMetrics", json!({})).await;
        let size = &metrics["cssContentSize"];
        let clip = json!({
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1,
        });
        let params = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let taken = self.call("Page.captureScreenshot", params).await;
        let picture = BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture"));
        std::fs::write(file, picture.expect("base64")).expect("a file");
    }

    /// Ends the browser.
    pub async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.child.wait()).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
