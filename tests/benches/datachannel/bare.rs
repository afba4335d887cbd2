//! The `webrtc` crate by itself, used as its documentation says: what Felund's driver adds is the difference.

use std::sync::Arc;

use bytes::BytesMut;
use felund_tests::links::{Post, Said};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
        RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCSessionDescription,
    },
};

use crate::SEND_BUFFER;

struct Handler(UnboundedSender<String>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _ = self.0.send(init.candidate);
        }
    }
}

/// A peer connection with one open channel.
pub(crate) struct Bare {
    peer: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
}

impl Bare {
    pub(crate) async fn meet(offer: bool, post: &mut Post) -> webrtc::error::Result<Self> {
        let (found, mut candidates) = unbounded_channel();
        let peer = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_handler(Arc::new(Handler(found)))
            .with_udp_addrs(vec!["0.0.0.0:0", "[::]:0"])
            .with_data_channel_send_buffer_limit(SEND_BUFFER)
            .build()
            .await?;
        let peer: Arc<dyn PeerConnection> = Arc::new(peer);
        let agreed = RTCDataChannelInit { negotiated: Some(0), ..RTCDataChannelInit::default() };
        let channel = peer.create_data_channel("bare", Some(agreed)).await?;
        if offer {
            let made = peer.create_offer(None).await?;
            post.say(Said::Description(made.sdp.clone()));
            peer.set_local_description(made).await?;
        }
        let mut described = offer;
        loop {
            tokio::select! {
                Some(candidate) = candidates.recv(), if described => {
                    if !candidate.is_empty() {
                        post.say(Said::Candidate(candidate));
                    }
                }
                said = post.hear() => match said {
                    Said::Description(sdp) if offer => {
                        peer.set_remote_description(RTCSessionDescription::answer(sdp)?).await?;
                    }
                    Said::Description(sdp) => {
                        peer.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
                        let made = peer.create_answer(None).await?;
                        post.say(Said::Description(made.sdp.clone()));
                        peer.set_local_description(made).await?;
                        described = true;
                    }
                    Said::Candidate(candidate) => {
                        let init = RTCIceCandidateInit {
                            candidate,
                            sdp_mline_index: Some(0),
                            ..RTCIceCandidateInit::default()
                        };
                        let _ = peer.add_ice_candidate(init).await;
                    }
                },
                event = channel.poll() => match event {
                    Some(DataChannelEvent::OnOpen) => return Ok(Self { peer, channel }),
                    Some(_) => {}
                    None => return Err(webrtc::error::Error::ErrDataChannelClosed),
                },
            }
        }
    }

    pub(crate) async fn send(&self, message: &[u8]) {
        self.channel.send(BytesMut::from(message)).await.expect("an open channel sends");
    }

    pub(crate) async fn receive(&self) -> usize {
        loop {
            match self.channel.poll().await.expect("the channel is open") {
                DataChannelEvent::OnMessage(message) => return message.data.len(),
                DataChannelEvent::OnClose => panic!("the channel was closed"),
                _ => {}
            }
        }
    }

    pub(crate) async fn close(&self) {
        let _ = self.peer.close().await;
    }
}
