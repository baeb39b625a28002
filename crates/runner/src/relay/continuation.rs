//! A config on its way from an agent to the server: a setup pipeline continues with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_client::CallError;
use capstan_model::trigger::ParameterValue;
use capstan_model::wire::{CONTINUATION_MAX, Continuation};

use crate::Inner;
use crate::backoff::Backoff;
use crate::uplink::Claimed;

/// How often a server in trouble is asked again.
const ATTEMPTS: u32 = 20;

/// What an agent said of its config, before the bytes.
pub(super) struct Said {
    pub(super) name: String,
    pub(super) parameters: BTreeMap<String, ParameterValue>,
}

/// A config whose bytes are arriving.
pub(super) struct Arriving {
    pub(super) transfer: u32,
    expected: u64,
    said: Said,
    bytes: Vec<u8>,
}

impl Arriving {
    /// Expects the bytes of a config.
    pub(super) fn begin(
        other: Option<&Self>,
        transfer: u32,
        expected: u64,
        said: Said,
    ) -> Result<Self, String> {
        if other.is_some() {
            return Err(String::from("a second config while one is arriving"));
        }
        if expected > CONTINUATION_MAX {
            return Err(format!("a config of {expected} bytes"));
        }
        Ok(Self {
            transfer,
            expected,
            said,
            bytes: Vec::new(),
        })
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, transfer: u32, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let at = self.bytes.len() as u64;
        if transfer != self.transfer || offset != at {
            return Err(format!(
                "bytes at {offset} of transfer {transfer}, not at {at}"
            ));
        }
        if at + bytes.len() as u64 > self.expected {
            return Err(String::from("a config longer than it was said to be"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether all bytes are there.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.expected
    }

    /// Hands the config to the server; what comes back is why the pipeline does not continue.
    pub(super) async fn deliver(self, inner: Arc<Inner>, claimed: Claimed) -> Option<String> {
        let Ok(configuration) = String::from_utf8(self.bytes) else {
            return Some(format!("{} is not UTF-8 text", self.said.name));
        };
        let continuation = Continuation {
            lease_epoch: claimed.lease_epoch,
            transfer: self.transfer,
            name: self.said.name,
            configuration,
            parameters: self.said.parameters,
        };
        let mut backoff = Backoff::default();
        for _ in 1..ATTEMPTS {
            match inner
                .api
                .continue_pipeline(claimed.task, &continuation)
                .await
            {
                Ok(continued) => return continued.error,
                Err(error) if error.is_final() => return Some(error.to_string()),
                // The server knows a call by its transfer, so asking again does no harm.
                Err(error) => backoff.wait(CallError::retry_after(&error)).await,
            }
        }
        Some(String::from("the server cannot be reached"))
    }
}
