//! The bytes of a file: they never change while the format's version stays.

use super::{Item, OWNER, nanos, open, write};
use crate::model::{Event, Lsn, Number, Scalar};
use crate::storage::codec;
use crate::storage::history::Stored;
use crate::storage::history::block::{Block, Builder};
use crate::storage::history::format::{BlockEntry, Directory, Footer, Header, Section, Table};
use crate::storage::history::pack::{Packer, Unpacker};
use crate::world::sim::SimDisk;

fn items() -> Vec<Item> {
    let event = |lsn: i64, id: &'static str, metadata| {
        Item::Event(Stored {
            lsn: Lsn(lsn.cast_unsigned()),
            received_at: nanos(40 + lsn),
            event: Event {
                id: id.into(),
                customer_id: "c".into(),
                name: "n".into(),
                timestamp: nanos(30 + 2 * lsn),
                timestamp_given: true,
                metadata,
            },
        })
    };
    let members = vec![
        ("k".into(), Scalar::Number(Number::new("1.5").unwrap())),
        ("b".into(), Scalar::Boolean(true)),
    ];
    vec![
        event(5, "e1", Some(members)),
        Item::Record { lsn: Lsn(6), log_time: nanos(-1), payload: b"xy".to_vec() },
        event(7, "e2", None),
    ]
}

#[test]
fn a_block_has_not_changed() {
    let mut builder = Builder::default();
    for item in items() {
        match &item {
            Item::Event(stored) => builder.event(stored),
            Item::Record { lsn, log_time, payload } => {
                builder.record(&super::Record { lsn: *lsn, log_time: *log_time, payload });
            }
        }
    }
    let mut bytes = Vec::new();
    builder.pack(&mut Packer::new(), &mut bytes);
    let expected: &[u8] = &[
        3, 1, // items, records
        1, 5, 1, // the record's place: one byte wide, one value of 1
        1, 0, // its log time, no steps
        1, 5, 2, // its size
        8, b'x', b'y', // its bytes
        90, 1, 5, 4, // arrivals: 45, then +2
        9, 1, // timestamps given: twice 1
        0, 9, 1, 5, 8, // timestamps: unit 1 ns, 5 before the arrival, then +4
        0, 1, 9, 2, 1, 8, 0, 1, 12, b'e', b'1', b'2', // ids: 2 bytes each, 0 and 1 shared
        1, 1, 5, 1, 1, 5, 1, 0, 5, b'c', 9, 0, // customers: a list of one, twice the first
        1, 1, 5, 1, 1, 5, 1, 0, 5, b'n', 9, 0, // names
        2, 0, 1, 9, 1, 0, 8, b'k', b'b', 8, 1, 2, // two fields: k number, b boolean
        1, 2, 1, 5, 2, 1, 8, 0, 1, // one shape, two fields in all: 0 and 1
        1, 8, 1, 0, // shapes of the events: the first, none
        0, 1, 5, 3, 0, 12, b'1', b'.', b'5', // column of k
        0, 1, 5, 4, 0, 16, b't', b'r', b'u', b'e', // column of b
    ];
    assert_eq!(bytes, expected);
    let block = Block::unpack(&bytes, Lsn(5), &mut Unpacker::new()).unwrap();
    let read: Vec<_> = (0..2).map(|event| block.event(event).unwrap()).collect();
    let items = items();
    let expected: Vec<_> = items.iter().filter_map(Item::event).cloned().collect();
    assert_eq!(read, expected);
}

#[test]
fn header_directory_and_footer_have_not_changed() {
    let header = Header { incarnation: OWNER, first_lsn: Lsn(5) }.encode();
    assert_eq!(&header[..12], b"QUIPUHST\x01\0\0\0");
    assert_eq!((&header[12..28], &header[28..36]), (&[7; 16][..], &[5, 0, 0, 0, 0, 0, 0, 0][..]));
    assert_eq!(header.len(), 40);

    let entry = BlockEntry {
        offset: 40,
        bytes: 2,
        crc: 3,
        first_lsn: Lsn(5),
        items: 6,
        events: 7,
        times: Some((nanos(-1), nanos(8))),
        names: Some(vec![9]),
    };
    let mut bytes = Vec::new();
    codec::encode(&Directory { blocks: vec![entry], names: vec![10] }, &mut bytes);
    assert_eq!(bytes, [1, 40, 2, 3, 5, 6, 7, 1, 1, 16, 1, 1, 9, 1, 10]);

    let footer = Footer {
        first_lsn: Lsn(5),
        last_lsn: Lsn(7),
        events: 2,
        records: 1,
        blocks: 1,
        times: None,
        arrivals: (nanos(1), nanos(2)),
        names: Some(vec![10]),
        ids: Table { offset: 40, places: 11, pages: 12 },
        customers: Table { offset: 41, places: 13, pages: 14 },
        directory: Section { offset: 42, bytes: 15, crc: 16 },
    };
    let bytes = footer.encode(1 << 20);
    let fields = [5, 7, 2, 1, 1, 0, 2, 4, 1, 1, 10, 40, 11, 12, 41, 13, 14, 42, 15, 16];
    assert_eq!(&bytes[..fields.len()], fields);
    let trailer = &bytes[fields.len()..];
    assert_eq!((&trailer[..4], &trailer[12..]), (&[20, 0, 0, 0][..], &b"QUIPUEND"[..]));
    let size = (1 << 20) + bytes.len() as u64;
    assert_eq!(Footer::decode(Lsn(5), size, &bytes).unwrap(), footer);
    assert!(Footer::decode(Lsn(6), size, &bytes).is_err());
}

#[test]
fn a_whole_file_has_not_changed() {
    let disk = SimDisk::new();
    write(&open(&disk).unwrap(), &items()).unwrap();
    let image = disk.image("history-00000000000000000005");
    // A page each for ids and customers, and the rest as above.
    let rest = image.len() - 2 * 4096;
    assert_eq!((rest, crc32c::crc32c(&image)), (229, 4_245_085_529));
}
