//! Channel commands: making, joining, leaving, approving, renaming.

use super::{
    Node,
    commands::{NO_CIRCLE, name_of},
    publish::After,
    records,
};
use crate::{
    circle::{Access, Body, NewChannel, channel_id},
    config::MAX_CHANNELS,
    ids::{ChannelId, CircleId, NodeId},
    keys::{MessageKey, channel_wrap_context, wrap_key},
    store::Op,
    view::{ASKED, Reply},
};

type Answer = Result<Option<Reply>, String>;

const LOCKED: &str = "The keys are locked.";
const GENERAL: &str = "#general belongs to everyone and stays as it is.";
const NO_MEMORY: &str = "There is not enough memory to derive the channel's key. Nothing was changed.";

impl Node {
    pub(super) fn create_channel(
        &mut self,
        id: u64,
        circle_id: CircleId,
        name: &str,
        access: Access,
        passphrase: Option<&str>,
    ) -> Answer {
        let name = name_of(name.trim().trim_start_matches('#'))?;
        let circle = self.circles.get(&circle_id).ok_or(NO_CIRCLE)?;
        let me = self.me.as_ref().ok_or(LOCKED)?.key.id();
        if circle.has_channel(&name, None) {
            return Err(format!("There is a channel #{name} already. Choose another name."));
        }
        if circle.state.channels().count() >= MAX_CHANNELS {
            return Err(format!("The circle has {MAX_CHANNELS} channels, which is the limit."));
        }
        let mut new = NewChannel::new(name, access, &mut self.rng.0);
        let channel = channel_id(&me, &new.nonce);
        let key = match (access, passphrase) {
            (Access::Public, _) => None,
            (Access::Key, Some(passphrase)) if !passphrase.is_empty() => {
                Some(circle.epoch_key.for_passphrase(passphrase, &channel).ok_or(NO_MEMORY)?)
            }
            (Access::Key, _) => {
                return Err("A key channel needs a passphrase: /channel create NAME key PASSPHRASE".into());
            }
            (Access::Invite, _) => Some(MessageKey::generate(&mut self.rng.0)),
        };
        if access == Access::Key {
            new.check = key.as_ref().map(MessageKey::check_value);
        }
        self.publish_with_key(id, circle_id, channel, Body::Create(new), key)
    }

    /// Publishes a control event and keeps a channel's key in one batch.
    fn publish_with_key(
        &mut self,
        id: u64,
        circle_id: CircleId,
        channel: ChannelId,
        body: Body,
        key: Option<MessageKey>,
    ) -> Answer {
        let control = self.circles.get(&circle_id).ok_or(NO_CIRCLE)?.control;
        let sealed = self.seal_in(circle_id, control, body)?;
        let (mut ops, mut after) = (sealed.ops, Vec::new());
        if let Some(key) = key {
            ops.extend(self.record(records::channel_key(&circle_id, &channel), key.secret().expose()));
            after.push(After::Key(circle_id, channel, Some(key)));
        }
        after.push(sealed.after);
        after.push(After::Reply(id, Reply::Channel { channel_id: channel }));
        self.store(ops, after);
        Ok(None)
    }

    pub(super) fn join_channel(
        &mut self,
        id: u64,
        circle_id: CircleId,
        channel: ChannelId,
        passphrase: Option<&str>,
    ) -> Answer {
        let me = self.me.as_ref().ok_or(LOCKED)?.key.id();
        let circle = self.circle_and_channel(circle_id, channel)?;
        if circle.is_joined(&channel, &me) {
            return Ok(Some(Reply::Channel { channel_id: channel }));
        }
        let name = circle.channel_name(&channel);
        let Some(found) = circle.state.channel(&channel) else { return Err(GENERAL.into()) };
        let (body, key) = match found.access() {
            Some(Access::Key) if !circle.keys.contains_key(&channel) => {
                let passphrase = passphrase
                    .filter(|passphrase| !passphrase.is_empty())
                    .ok_or_else(|| format!("#{name} has a passphrase: /channel join {name} PASSPHRASE"))?;
                let key = circle.epoch_key.for_passphrase(passphrase, &channel).ok_or(NO_MEMORY)?;
                if found.check() != Some(key.check_value()) {
                    return Err(format!("That is not the passphrase of #{name}. Nothing was changed."));
                }
                (Body::Join(channel), Some(key))
            }
            Some(Access::Invite) if !circle.keys.contains_key(&channel) => (Body::Request(channel), None),
            _ => (Body::Join(channel), None),
        };
        let asked = matches!(body, Body::Request(_));
        if key.is_some() {
            self.await_stored(circle_id);
        } else if !asked {
            // An approval may have come before anybody asked for it, and what it opens may wait.
            self.ask_for_unheard(circle_id, true);
        }
        let answer = self.publish_with_key(id, circle_id, channel, body, key)?;
        if asked {
            self.notice(false, [ASKED, &name, ". Its creator has to approve."].concat());
        }
        Ok(answer)
    }

    pub(super) fn leave_channel(&mut self, id: u64, circle_id: CircleId, channel: ChannelId) -> Answer {
        let circle = self.circle_and_channel(circle_id, channel)?;
        let control = circle.control;
        let Some(found) = circle.state.channel(&channel) else { return Err(GENERAL.into()) };
        let forget = found.access() == Some(Access::Key);
        let sealed = self.seal_in(circle_id, control, Body::Leave(channel))?;
        let (mut ops, mut after) = (sealed.ops, vec![sealed.after]);
        // A passphrase can be given again; an approval is for good and its key stays.
        if forget {
            ops.push(Op::DeleteRecord(records::channel_key(&circle_id, &channel)));
            after.push(After::Key(circle_id, channel, None));
        }
        after.push(After::Reply(id, Reply::Done));
        self.store(ops, after);
        Ok(None)
    }

    pub(super) fn approve(
        &mut self,
        id: u64,
        circle_id: CircleId,
        channel: ChannelId,
        member: NodeId,
    ) -> Answer {
        let me = self.me.as_ref().ok_or(LOCKED)?.key.id();
        let circle = self.circle_and_channel(circle_id, channel)?;
        let (name, control) = (circle.channel_name(&channel), circle.control);
        let found = circle.state.channel(&channel).filter(|found| found.access() == Some(Access::Invite));
        let found =
            found.ok_or_else(|| format!("#{name} is open to whoever may join it; nobody needs approval."))?;
        if found.owner() != Some(me) {
            return Err(format!("Only the member who made #{name} can approve others."));
        }
        let wrap_to =
            circle.state.member(&member).ok_or("That member has not announced itself yet.")?.wrap_key;
        let key = circle.keys.get(&channel).cloned().ok_or("This device has no key for that channel.")?;
        let context = channel_wrap_context(&circle_id, &channel, &member);
        let wrapped = wrap_key(&wrap_to, &context, &key, &mut self.rng.0)
            .ok_or("That member announced a key that cannot be used. Nothing was changed.")?;
        self.publish(circle_id, control, Body::Approve(channel, member, wrapped), id, |_| Reply::Done)?;
        Ok(None)
    }

    pub(super) fn rename_channel(
        &mut self,
        id: u64,
        circle_id: CircleId,
        channel: ChannelId,
        name: &str,
    ) -> Answer {
        let me = self.me.as_ref().ok_or(LOCKED)?.key.id();
        let name = name_of(name.trim().trim_start_matches('#'))?;
        let circle = self.circle_and_channel(circle_id, channel)?;
        let control = circle.control;
        let Some(found) = circle.state.channel(&channel) else { return Err(GENERAL.into()) };
        if found.owner() != Some(me) {
            return Err("Only the member who made a channel can rename it.".into());
        }
        if circle.has_channel(&name, Some(&channel)) {
            return Err(format!("There is a channel #{name} already. Choose another name."));
        }
        self.publish(circle_id, control, Body::Rename(channel, name), id, |_| Reply::Done)?;
        Ok(None)
    }
}
