//! Every primitive in use against published vectors, through the very crates the core is built from: Wycheproof
//! for what an attacker may send, RFC and FIPS vectors for what the standards say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use felund_core::{ids::NodeId, relay_api::signing::ApiKey};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use wycheproof::{TestResult, aead, eddsa, hkdf as hkdf_tests, mac, xdh};

fn bytes<const N: usize>(hex_text: &str) -> [u8; N] {
    hex::decode(hex_text).unwrap().try_into().unwrap()
}

#[test]
fn aes_256_gcm_passes_wycheproof() {
    use aes_gcm::{
        Aes256Gcm, KeyInit as _,
        aead::{Aead as _, Payload},
    };
    let mut checked = 0;
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    // Felund uses 256-bit keys, 96-bit nonces and whole tags only; other sizes do not fit the types.
    let fits = |g: &&aead::TestGroup| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128;
    for group in set.test_groups.iter().filter(fits) {
        for test in &group.tests {
            let key: [u8; 32] = test.key[..].try_into().unwrap();
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            let cipher = Aes256Gcm::new(&key.into());
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = cipher.decrypt(&nonce.into(), Payload { msg: &sealed, aad: &test.aad });
            if test.result == TestResult::Invalid {
                assert!(opened.is_err(), "tc {}", test.tc_id);
            } else {
                assert_eq!(opened.unwrap(), &test.pt[..], "tc {}", test.tc_id);
                let payload = Payload { msg: &test.pt, aad: &test.aad };
                assert_eq!(cipher.encrypt(&nonce.into(), payload).unwrap(), sealed, "tc {}", test.tc_id);
            }
            checked += 1;
        }
    }
    assert!(checked > 60);
}

#[test]
fn hkdf_sha256_passes_wycheproof_and_rfc_5869() {
    let set = hkdf_tests::TestSet::load(hkdf_tests::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut out = vec![0; test.size];
        let result = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        assert_eq!(result.is_ok(), test.result != TestResult::Invalid, "tc {}", test.tc_id);
        if result.is_ok() {
            assert_eq!(out, &test.okm[..], "tc {}", test.tc_id);
        }
    }
    // RFC 5869 A.3: no salt, no info.
    let mut out = [0; 42];
    Hkdf::<Sha256>::new(None, &[0x0b; 22]).expand(&[], &mut out).unwrap();
    let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
    assert_eq!(hex::encode(out), expected);
}

#[test]
fn hmac_sha256_passes_wycheproof_through_request_signing() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for group in set.test_groups.iter().filter(|group| group.tag_size == 256) {
        for test in &group.tests {
            let tag: [u8; 32] = test.tag[..].try_into().unwrap();
            let valid = test.result != TestResult::Invalid;
            let hmac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap().chain_update(&test.msg[..]);
            assert_eq!(hmac.verify_slice(&tag).is_ok(), valid, "tc {}", test.tc_id);
            // Requests are signed text under a 32-byte key: where a test has that form, it goes through our type.
            let (Ok(key), Ok(text)) = (test.key[..].try_into(), std::str::from_utf8(&test.msg)) else {
                continue;
            };
            let key = ApiKey::from_bytes(key);
            assert_eq!((key.check(text, &tag), key.mac(text) == tag), (valid, valid), "tc {}", test.tc_id);
        }
    }
}

#[test]
fn ed25519_passes_wycheproof_through_node_ids() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut checked = 0;
    for group in &set.test_groups {
        let node = NodeId(group.key.pk[..].try_into().unwrap());
        for test in &group.tests {
            // Signatures of another length cannot even be named by the type.
            let verified = <[u8; 64]>::try_from(&test.sig[..]).is_ok_and(|sig| node.verify(&test.msg, &sig));
            assert_eq!(verified, test.result == TestResult::Valid, "tc {}", test.tc_id);
            checked += 1;
        }
    }
    assert!(checked > 100);
}

#[test]
fn ed25519_signs_as_rfc_8032_says() {
    use felund_core::{keys::NodeKey, redact::Secret};
    // RFC 8032 §7.1, TEST 3.
    let seed = bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
    let key = NodeKey::from_seed(Secret::new(seed));
    assert_eq!(key.id().to_string(), "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
    let expected = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                    18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    assert_eq!(hex::encode(key.sign(&[0xaf, 0x82])), expected);
}

#[test]
fn x25519_passes_wycheproof() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(&test.private_key[..]).unwrap());
        let public = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(&test.public_key[..]).unwrap());
        let shared = secret.diffie_hellman(&public);
        assert_eq!(shared.as_bytes(), &test.shared_secret[..], "tc {}", test.tc_id);
        // A zero secret means a small-order key; whoever uses the result must be able to tell.
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(shared.was_contributory(), !zero, "tc {}", test.tc_id);
    }
}

#[test]
fn sha_2_is_the_one_of_fips_180_4() {
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (message, digest) in [
        (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        (&[b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ] {
        assert_eq!(hex::encode(Sha256::digest(message)), digest);
    }
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
               2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(hex::encode(Sha512::digest(b"abc")), abc);
}

#[test]
fn argon2id_is_the_one_of_rfc_9106() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
    // RFC 9106 §5.3.
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let argon = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    argon.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
    assert_eq!(hex::encode(tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}

#[test]
fn hpke_is_the_one_of_rfc_9180() {
    use hpke::{Deserializable as _, Kem, OpModeR, aead::AesGcm256, kdf::HkdfSha256, kem::X25519HkdfSha256};
    // The RFC's companion vectors: mode 0, kem 0x20, kdf 1, aead 2, first encryption.
    let secret: [u8; 32] = bytes("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d");
    let encapped: [u8; 32] = bytes("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256");
    let sealed: [u8; 45] =
        bytes("e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a");
    let open = |sealed: &[u8], aad: &[u8]| {
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &<X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&secret).unwrap(),
            &<X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&encapped).unwrap(),
            b"Ode on a Grecian Urn",
            sealed,
            aad,
        )
    };
    assert_eq!(open(&sealed, b"Count-0").unwrap(), b"Beauty is truth, truth beauty");
    assert!(open(&sealed, b"Count-1").is_err());
}
