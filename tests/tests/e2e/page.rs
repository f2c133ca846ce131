//! The status page in a real browser: what it shows is what was counted, it follows by itself, it
//! says when it cannot, nothing a client wrote runs on it, and it fits every screen.
//!
//! Pictures of it are left in target/page.

use pgmanifold_tests::browser::{Browser, is_installed};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::driver::root;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::process::free_port;
use pgmanifold_tests::run;
use serde_json::json;
use std::time::Duration;

/// Two samples of the last hour, and then some.
const SAMPLES_TIMEOUT: Duration = Duration::from_secs(30);
/// A few turns of the page's own clock.
const LIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// A name that is a script wherever it is not text.
const HOSTILE: &str = "<img src=x onerror=document.title=666>";

/// A proxy with its page at the address.
async fn fixture(test: &str) -> (Fixture, String) {
    let http = format!("127.0.0.1:{}", free_port());
    let fixture = Fixture::shared(test, |config| config.http(&http)).await;
    fixture.wait_replicas().await;
    (fixture, format!("http://{http}/"))
}

/// The number that the page shows at `place`.
fn number(place: &str) -> String {
    format!("Number(document.querySelector({:?}).value)", format!("{place} data"))
}

/// The sum of a family's samples in `/metrics`, as the browser gets it.
fn metric(family: &str) -> String {
    format!(
        "fetch('/metrics').then(a => a.text()).then(text => text.split('\\n')\
         .filter(line => line.startsWith('{family}{{'))\
         .map(line => Number(line.split(' ').pop())).reduce((a, b) => a + b, 0))"
    )
}

#[test]
fn numbers_are_those_of_the_metrics_and_follow_by_themselves() {
    run(120, async {
        if is_direct() || !is_installed() {
            return;
        }
        let (fixture, url) = fixture("page_live").await;
        let mut browser = Browser::start("page_live").await;
        browser.open(&url).await;
        assert_eq!(browser.eval("document.querySelector('h1').textContent").await, "pgmanifold");
        browser.wait("document.documentElement.dataset.live === 'good'", LIVE_TIMEOUT).await;
        browser.eval("window.mark = 1").await;
        let before = browser.eval(&number("#clients")).await.as_f64().expect("a number");

        let mut clients = Vec::new();
        for _ in 0..7 {
            let client = fixture.client().await;
            exec(&client, "begin").await;
            value(&client, "select 1").await;
            clients.push(client);
        }
        let grown = format!("{} === {}", number("#clients"), before + 7.0);
        browser.wait(&grown, LIVE_TIMEOUT).await;
        let (shown, counted) = (number("#clients"), metric("pgmanifold_clients"));
        let same = format!("{counted}.then(counted => counted === {shown})");
        browser.wait(&same, LIVE_TIMEOUT).await;
        browser.wait(&format!("{} >= 7", number("#lent")), LIVE_TIMEOUT).await;
        drop(clients);
        browser.wait(&format!("{} === {before}", number("#clients")), LIVE_TIMEOUT).await;
        assert_eq!(browser.eval("window.mark").await, 1, "the page was not loaded again");

        pauses(&mut browser).await;
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
        drop(fixture);
        browser.wait("document.documentElement.dataset.live === 'lost'", LIVE_TIMEOUT).await;
        let text = browser.eval("document.getElementById('live').textContent").await;
        assert!(text.as_str().is_some_and(|text| text.starts_with("Connection lost")), "{text}");
        browser.look(1280, "light").await;
        picture(&mut browser, "lost").await;
        browser.close().await;
    });
}

/// A page that nobody sees asks for nothing, and is up to date as soon as it is seen.
async fn pauses(browser: &mut Browser) {
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {hidden}}});\
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    let asked = "performance.getEntriesByType('resource').length";
    browser.eval(&hide(true)).await;
    browser.wait("document.documentElement.dataset.live === 'paused'", LIVE_TIMEOUT).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = browser.eval(asked).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(browser.eval(asked).await, before, "it asks while nobody looks");
    browser.eval(&hide(false)).await;
    browser.wait("document.documentElement.dataset.live === 'good'", LIVE_TIMEOUT).await;
}

async fn picture(browser: &mut Browser, name: &str) {
    let folder = root().join("target/page");
    std::fs::create_dir_all(&folder).expect("a folder");
    browser.picture(&folder.join(format!("{name}.png"))).await;
}

#[test]
fn it_is_whole_without_scripts_and_fits_every_screen() {
    run(180, async {
        if is_direct() || !is_installed() {
            return;
        }
        let (fixture, url) = fixture("page_looks").await;
        let client = fixture.client().await;
        exec(&client, "create table orders (id int, customer text, total numeric)").await;
        exec(&client, "insert into orders select n, 'c' || n, n from generate_series(1, 500) n")
            .await;
        exec(&client, &format!("create table {HOSTILE:?} (n int)")).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(22);
        while tokio::time::Instant::now() < until {
            value(&client, "select count(*) from orders where id > 42").await;
            value(&client, &format!("select count(*) from {HOSTILE:?}")).await;
            let secret = "select count(*) from orders where customer = 'very secret'";
            value(&client, secret).await;
            let _ = client.simple_query("select 1 / 0").await;
        }
        let mut browser = Browser::start("page_looks").await;
        browser.open(&url).await;
        let shown = "document.querySelectorAll('.plot path').length >= 5";
        browser.wait(shown, SAMPLES_TIMEOUT).await;
        for (width, scheme) in
            [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark"), (768, "light")]
        {
            browser.look(width, scheme).await;
            let wide = browser.eval("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{wide} > {width}");
            picture(&mut browser, &format!("{scheme}-{width}")).await;
        }
        let text = browser.eval("document.body.innerText").await;
        let text = text.as_str().expect("text");
        for server in fixture.cluster.servers() {
            let address = server.address().to_string();
            assert!(text.contains(&address), "{address} is not in\n{text}");
        }
        assert!(text.contains("Healthy") || text.contains("Needs a look"), "{text}");
        hostile(&mut browser, text).await;
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");

        // The same without any script.
        browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
        browser.call("Page.navigate", json!({"url": url})).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let root = browser.call("DOM.getDocument", json!({})).await;
        let node = json!({"nodeId": root["root"]["nodeId"]});
        let html = browser.call("DOM.getOuterHTML", node).await;
        let html = html["outerHTML"].as_str().expect("HTML");
        assert!(!html.contains("data-live=\"good\""), "no script has run");
        for word in ["As of ", "<table", "Where the time is", "<path", "count(*)"] {
            assert!(html.contains(word), "{word} is not in\n{html}");
        }
        browser.close().await;
    });
}

/// The hostile name is shown as it is written; no literal is.
async fn hostile(browser: &mut Browser, text: &str) {
    let title = browser.eval("document.title").await;
    assert!(title.as_str().is_some_and(|title| title.ends_with("· pgmanifold")), "{title}");
    assert_eq!(browser.eval("document.images.length").await, 0);
    assert!(text.contains(HOSTILE), "{HOSTILE} is not in\n{text}");
    assert!(text.contains("where customer = $") && !text.contains("very secret"), "{text}");
}

#[test]
fn it_can_be_turned_off() {
    run(60, async {
        if is_direct() || !is_installed() {
            return;
        }
        let http = format!("127.0.0.1:{}", free_port());
        let _fixture = Fixture::shared("page_off", |config| {
            config.http(&http).http_key("status_page = false")
        })
        .await;
        let mut browser = Browser::start("page_off").await;
        for path in ["", "live"] {
            let url = format!("http://{http}/{path}");
            browser.open(&url).await;
            let text = browser.eval("document.body.innerText").await;
            assert!(text.as_str().is_some_and(|text| text.starts_with("try /health")), "{text}");
        }
        browser.close().await;
    });
}
