//! The other end in Chromium: an `RTCPeerConnection` in an empty page, driven with the same marks of buffered amount
//! as `felund-wasm`'s driver, so that the figures are the browser's and the native end's.

use std::time::Duration;

use felund_tests::{
    browser::{Browser, Engine},
    links::{Post, Said},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::throughput::status;

/// What the page does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Counts what comes and says when it has everything.
    Receive,
    /// Sends everything once it is told to.
    Send,
}

const ANSWER: &str = r"
const [sdp, candidates, sends, size, total, done] = arguments;
(async () => {
  const pc = new RTCPeerConnection();
  const dc = pc.createDataChannel('felund', { negotiated: true, id: 0 });
  dc.binaryType = 'arraybuffer';
  dc.bufferedAmountLowThreshold = 256 * 1024;
  window.peer = { pc, dc };
  let got = 0, sent = 0;
  const message = new Uint8Array(size);
  const pump = () => {
    while (sent < total && dc.bufferedAmount < 1024 * 1024) { dc.send(message); sent += size; }
  };
  dc.onbufferedamountlow = pump;
  dc.onmessage = (event) => {
    const length = event.data.byteLength;
    if (length === 1) return dc.send(new Uint8Array(1));
    if (sends) return pump();
    got += length;
    if (got >= total) { got = -Infinity; dc.send(new Uint8Array(2)); }
  };
  await pc.setRemoteDescription({ type: 'offer', sdp });
  for (const candidate of candidates) await pc.addIceCandidate({ candidate, sdpMLineIndex: 0 });
  await pc.setLocalDescription(await pc.createAnswer());
  const gathered = () => pc.iceGatheringState === 'complete';
  if (!gathered()) await new Promise((ok) => { pc.onicegatheringstatechange = () => gathered() && ok(); });
  done(pc.localDescription.sdp);
})().catch((e) => done('' + e));
";

const CLOSE: &str =
    "window.peer.dc.onmessage = null; window.peer.dc.close(); window.peer.pc.close(); window.peer = null;";

/// Connects as many pairs within the page as is said, and keeps them.
const KEEP: &str = r"
const [count, done] = arguments;
(async () => {
  const pair = async () => {
    const [a, b] = [new RTCPeerConnection(), new RTCPeerConnection()];
    const channels = [a, b].map((pc) => pc.createDataChannel('felund', { negotiated: true, id: 0 }));
    const open = Promise.all(channels.map((dc) => new Promise((ok) => { dc.onopen = ok; })));
    a.onicecandidate = (event) => event.candidate && b.addIceCandidate(event.candidate);
    b.onicecandidate = (event) => event.candidate && a.addIceCandidate(event.candidate);
    await a.setLocalDescription(await a.createOffer());
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription(await b.createAnswer());
    await a.setRemoteDescription(b.localDescription);
    await open;
    return [a, b, channels];
  };
  window.kept = window.kept || [];
  for (let n = 0; n < count; n++) window.kept.push(await pair());
  done(performance.memory.usedJSHeapSize);
})().catch((e) => done('' + e));
";

/// A page in a browser of its own.
pub(crate) struct Tab(Browser);

impl Tab {
    pub(crate) fn open() -> Self {
        let tab = Self(Browser::open(Engine::Chromium));
        tab.0.session().go("about:blank").expect("an empty page opens");
        tab
    }

    /// Answers an offer and then does its task.
    pub(crate) fn answer(&self, mut post: Post, task: Task, size: usize, total: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let (mut offer, mut candidates) = (String::new(), Vec::new());
        runtime.expect("a runtime can be made").block_on(async {
            // Without STUN servers all candidates are there at once.
            while let Ok(said) = timeout(Duration::from_millis(500), post.hear()).await {
                match said {
                    Said::Description(sdp) => offer = sdp,
                    Said::Candidate(candidate) => candidates.push(candidate),
                }
            }
        });
        let args = [json!(offer), json!(candidates), json!(task == Task::Send), json!(size), json!(total)];
        let answer = self.0.session().run_async(ANSWER, &args).expect("the page answers");
        let sdp = answer.as_str().unwrap_or_default().to_owned();
        assert!(sdp.starts_with("v=0"), "the page made no answer: {sdp}");
        let found = sdp.lines().filter_map(|line| line.strip_prefix("a="));
        let found: Vec<String> =
            found.filter(|line| line.starts_with("candidate:")).map(str::to_owned).collect();
        post.say(Said::Description(sdp));
        for candidate in found {
            post.say(Said::Candidate(candidate));
        }
    }

    pub(crate) fn close(&self) {
        self.0.session().run(CLOSE, &[]).expect("the page closes its connection");
    }

    /// What each end of an idle connection needs, in 10³ bytes: of all the browser's processes, and of the page's heap.
    pub(crate) fn idle(&self, connections: usize) -> (f64, f64) {
        // The first pairs also pay for what all of them share.
        let heap = |count: usize| {
            let value = self.0.session().run_async(KEEP, &[json!(count)]).expect("the page connects");
            value.as_f64().unwrap_or_else(|| panic!("the page's connections: {value}"))
        };
        let first = heap(4);
        let before = self.resident();
        let heap = heap(connections) - first;
        let ends = (2 * connections) as f64 * 1e3;
        ((self.resident() - before) / ends, heap / ends)
    }

    /// Bytes of all the browser's processes.
    fn resident(&self) -> f64 {
        self.0.processes().iter().map(|process| status(&process.to_string(), "VmRSS:")).sum()
    }

    /// What it is.
    pub(crate) fn version(&self) -> String {
        let agent = self.0.session().run("return navigator.userAgent", &[]).unwrap_or(Value::Null);
        let agent = agent.as_str().unwrap_or_default();
        agent.split(' ').find(|word| word.contains("Chrome")).unwrap_or("Chromium").to_owned()
    }
}
