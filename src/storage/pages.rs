//! A file of pages with a checksum each, for a library that would believe whatever it reads.
//!
//! redb compares checksums when it repairs a file, not when it reads one: a flipped bit of a key makes
//! rows unfindable, and nobody hears of it. Here every page that is read is compared.
//!
//! Layout: groups of 1024 pages of 4096 bytes. The first page of a group holds the checksums of the
//! others, 4 bytes little-endian each: CRC-32C of the page's number, 8 bytes little-endian, and the
//! page; 0 stands for a page that was never written and is all zeros. The file's first page of data is
//! exempt: redb writes its head in place, and checks it itself.
//!
//! Checksums are written before every sync, so they are durable when the pages are. Between two syncs
//! redb writes only pages that nothing durable refers to: what a crash leaves of those is never read,
//! and in a page of checksums that is torn by sectors those of all other pages stay as they were.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::world::DiskFile;
use crate::world::disk::read_exact_at;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// Bytes that are written at most before the disk has them; as many as of a snapshot.
const UNSYNCED_MAX: usize = 4 * 1024 * 1024;

/// Pages with content in a group; one more holds their checksums.
const GROUP_PAGES: u64 = 1023;
const CHECKSUM_BYTES: usize = 4;

/// The file.
#[derive(Debug)]
pub struct PageFile {
    file: Arc<dyn DiskFile>,
    groups: Mutex<BTreeMap<u64, Group>>,
    /// Bytes of content that were written since the last sync.
    unsynced: AtomicUsize,
}

/// The checksums of a group, as they are to stand in its first page.
#[derive(Debug)]
struct Group {
    checksums: Box<[u8; PAGE_BYTES]>,
    is_changed: bool,
}

impl Group {
    fn get(&self, place: usize) -> u32 {
        let at = place * CHECKSUM_BYTES;
        let bytes = self.checksums.get(at..).and_then(|rest| rest.first_chunk());
        u32::from_le_bytes(*bytes.expect("a page has room for the checksums of its group"))
    }

    fn set(&mut self, place: usize, checksum: u32) {
        let at = place * CHECKSUM_BYTES;
        let bytes = self.checksums.get_mut(at..at + CHECKSUM_BYTES);
        let bytes = bytes.expect("a page has room for the checksums of its group");
        bytes.copy_from_slice(&checksum.to_le_bytes());
        self.is_changed = true;
    }
}

/// Where page `number` of the content stands among all pages of the file.
fn place_of(number: u64) -> u64 {
    number + number / GROUP_PAGES + 1
}

/// The place of page `number` in its group.
fn place_in_group(number: u64) -> usize {
    usize::try_from(number % GROUP_PAGES).expect("a group has few pages")
}

/// Where the page of checksums of a group begins, in bytes.
fn group_start(group: u64) -> u64 {
    group * (GROUP_PAGES + 1) * PAGE_BYTES as u64
}

fn checksum(number: u64, page: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), page);
    // 0 is taken.
    checksum.max(1)
}

/// The pages from byte `offset` on that `count` bytes are, when they are whole pages.
fn whole_pages(offset: u64, count: usize) -> io::Result<Range<u64>> {
    let bytes = PAGE_BYTES as u64;
    if !offset.is_multiple_of(bytes) || !count.is_multiple_of(PAGE_BYTES) {
        let message = format!("{count} bytes at {offset} are not whole pages");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(offset / bytes..(offset + count as u64) / bytes)
}

/// Cuts a range of pages where groups end.
fn by_group(pages: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut start = pages.start;
    std::iter::from_fn(move || {
        let group_end = (start / GROUP_PAGES + 1) * GROUP_PAGES;
        let part = start..pages.end.min(group_end);
        start = part.end;
        (!part.is_empty()).then_some(part)
    })
}

fn bytes_of(pages: &Range<u64>) -> usize {
    usize::try_from(pages.end - pages.start).expect("they are in memory") * PAGE_BYTES
}

impl PageFile {
    /// The pages in `file`.
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, groups: Mutex::default(), unsynced: AtomicUsize::new(0) }
    }

    /// Bytes of content: whole pages.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn size(&self) -> io::Result<u64> {
        let pages = self.file.size()? / PAGE_BYTES as u64;
        let content = pages - pages.div_ceil(GROUP_PAGES + 1);
        Ok(content * PAGE_BYTES as u64)
    }

    /// Reads content: whole pages, or a part of the first one.
    ///
    /// # Errors
    /// `InvalidData` when a page is not as it was written, `UnexpectedEof` behind the end, or what the
    /// operating system says.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if is_in_head(offset, out.len()) {
            return read_exact_at(&*self.file, PAGE_BYTES as u64 + offset, out);
        }
        let mut rest = out;
        for pages in by_group(whole_pages(offset, rest.len())?) {
            let (part, after) = rest.split_at_mut(bytes_of(&pages));
            read_exact_at(&*self.file, place_of(pages.start) * PAGE_BYTES as u64, part)?;
            self.compare(pages, part)?;
            rest = after;
        }
        Ok(())
    }

    fn compare(&self, pages: Range<u64>, bytes: &[u8]) -> io::Result<()> {
        let mut groups = self.groups.lock();
        let group = self.group(&mut groups, pages.start / GROUP_PAGES)?;
        for (number, page) in pages.zip(bytes.chunks(PAGE_BYTES)).filter(|(number, _)| *number > 0)
        {
            let is_whole = match group.get(place_in_group(number)) {
                0 => page.iter().all(|byte| *byte == 0),
                expected => expected == checksum(number, page),
            };
            if !is_whole {
                let message = format!("page {number} is not as it was written");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }

    fn group<'g>(
        &self,
        groups: &'g mut BTreeMap<u64, Group>,
        number: u64,
    ) -> io::Result<&'g mut Group> {
        match groups.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let mut checksums = Box::new([0; PAGE_BYTES]);
                // Behind the end nothing was written yet.
                self.file.read_at(group_start(number), &mut *checksums)?;
                Ok(unknown.insert(Group { checksums, is_changed: false }))
            }
        }
    }

    /// Writes content: whole pages, or a part of the first one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if is_in_head(offset, bytes.len()) {
            return self.file.write_at(PAGE_BYTES as u64 + offset, bytes);
        }
        let mut rest = bytes;
        for pages in by_group(whole_pages(offset, rest.len())?) {
            let (part, after) = rest.split_at(bytes_of(&pages));
            self.file.write_at(place_of(pages.start) * PAGE_BYTES as u64, part)?;
            let mut groups = self.groups.lock();
            let group = self.group(&mut groups, pages.start / GROUP_PAGES)?;
            for (number, page) in pages.zip(part.chunks(PAGE_BYTES)) {
                group.set(place_in_group(number), checksum(number, page));
            }
            rest = after;
        }
        self.sync_if_much(bytes.len())
    }

    /// Hands what was written to the disk once it is much. The checksums may come later: until redb asks for a
    /// sync nothing durable refers to these pages.
    fn sync_if_much(&self, written: usize) -> io::Result<()> {
        if self.unsynced.fetch_add(written, Ordering::Relaxed) + written < UNSYNCED_MAX {
            return Ok(());
        }
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync()
    }

    /// Makes room for `bytes` of content, rounded up to pages, or cuts off what is behind.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        let pages = bytes.div_ceil(PAGE_BYTES as u64);
        let mut groups = self.groups.lock();
        let before = self.size()? / PAGE_BYTES as u64;
        // What is cut off, or was before a crash, is zeros when the file grows.
        for part in by_group(pages.min(before)..pages.max(before)) {
            let group = self.group(&mut groups, part.start / GROUP_PAGES)?;
            part.for_each(|number| group.set(place_in_group(number), 0));
        }
        groups.split_off(&pages.div_ceil(GROUP_PAGES));
        self.file.resize((pages + pages.div_ceil(GROUP_PAGES)) * PAGE_BYTES as u64)
    }

    /// Makes pages and checksums durable.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync(&self) -> io::Result<()> {
        for (number, group) in &mut *self.groups.lock() {
            if group.is_changed {
                self.file.write_at(group_start(*number), &*group.checksums)?;
                group.is_changed = false;
            }
        }
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync()
    }
}

/// Whether this is a part of the first page, which carries no checksum.
fn is_in_head(offset: u64, count: usize) -> bool {
    offset.saturating_add(count as u64) <= PAGE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::world::Disk;
    use crate::world::sim::SimDisk;

    const FIRST: u64 = PAGE_BYTES as u64;

    fn page_file(disk: &SimDisk) -> PageFile {
        PageFile::new(disk.open("f").or_else(|_| disk.create("f")).unwrap())
    }

    fn page(fill: u8) -> Vec<u8> {
        vec![fill; PAGE_BYTES]
    }

    fn read(file: &PageFile, number: u64) -> io::Result<Vec<u8>> {
        let mut bytes = page(0);
        file.read(number * FIRST, &mut bytes).map(|()| bytes)
    }

    /// A file that knows how much was ever written between two syncs.
    #[derive(Debug)]
    struct Watched {
        file: Arc<dyn DiskFile>,
        /// Since the last sync, and at most.
        unsynced: Mutex<[usize; 2]>,
    }

    impl DiskFile for Watched {
        fn size(&self) -> io::Result<u64> {
            self.file.size()
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            self.file.read_at(offset, buffer)
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let [now, most] = &mut *self.unsynced.lock();
            *now += bytes.len();
            *most = *now.max(most);
            self.file.write_at(offset, bytes)
        }

        fn resize(&self, size: u64) -> io::Result<()> {
            self.file.resize(size)
        }

        fn sync(&self) -> io::Result<()> {
            self.unsynced.lock()[0] = 0;
            self.file.sync()
        }
    }

    #[test]
    fn the_disk_never_has_much_to_write_at_once() {
        let file = SimDisk::new().create("f").unwrap();
        let watched = Arc::new(Watched { file, unsynced: Mutex::default() });
        let pages = PageFile::new(Arc::<Watched>::clone(&watched));
        for number in 1..3_000 {
            pages.write(number * FIRST, &page(1)).unwrap();
        }
        let [_, most] = *watched.unsynced.lock();
        assert!((UNSYNCED_MAX / 2..=UNSYNCED_MAX).contains(&most), "{most} bytes");
        assert_eq!(read(&pages, 2_999).unwrap(), page(1));
    }

    #[test]
    fn every_size_of_content_is_told_again() {
        let disk = SimDisk::new();
        let file = page_file(&disk);
        for pages in (0..5_000).step_by(7).chain([1_022, 1_023, 1_024, 2_046, 2_047]) {
            file.resize(pages * FIRST).unwrap();
            assert_eq!(file.size().unwrap(), pages * FIRST);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_behind_the_head_is_found() {
        let disk = SimDisk::new();
        let file = page_file(&disk);
        file.resize(4 * FIRST).unwrap();
        file.write(FIRST, &[page(1), page(2)].concat()).unwrap();
        file.sync().unwrap();
        assert_eq!(read(&page_file(&disk), 2).unwrap(), page(2));
        assert_eq!(read(&page_file(&disk), 3).unwrap(), page(0), "it was never written");
        // The page of checksums, the head, and three pages.
        for offset in (0..5 * FIRST).step_by(61).filter(|at| !(FIRST..2 * FIRST).contains(at)) {
            let disk = disk.restart();
            disk.flip_bit("f", offset, 5);
            let file = page_file(&disk);
            let damaged = (1..4).filter(|number| {
                let failed = read(&file, *number).err();
                failed.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
            });
            let is_unused = offset < FIRST && !(4..16).contains(&offset);
            assert_eq!(damaged.count(), usize::from(!is_unused), "byte {offset}");
        }
    }

    #[test]
    fn a_page_in_the_place_of_another_is_found() {
        let disk = SimDisk::new();
        let file = page_file(&disk);
        file.resize(3 * FIRST).unwrap();
        file.write(FIRST, &page(1)).unwrap();
        file.write(2 * FIRST, &page(1)).unwrap();
        let moved = file.groups.lock().get(&0).unwrap().get(1);
        file.groups.lock().get_mut(&0).unwrap().set(2, moved);
        assert!(read(&file, 1).is_ok() && read(&file, 2).is_err());
    }

    #[test]
    fn what_is_no_whole_page_is_refused() {
        let file = page_file(&SimDisk::new());
        file.resize(3 * FIRST).unwrap();
        for (offset, count) in [(1, PAGE_BYTES), (FIRST, 100), (FIRST + 8, PAGE_BYTES)] {
            let failed = file.write(offset, &vec![1; count]).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::InvalidInput);
            assert!(file.read(offset, &mut vec![0; count]).is_err());
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Write(u64, u8, usize),
        Resize(u64),
        Sync,
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (1..1_030_u64, 1..255_u8, 1..4_usize)
                .prop_map(|(at, fill, count)| Act::Write(at, fill, count)),
            (1_000..1_040_u64).prop_map(Act::Resize),
            Just(Act::Sync),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Around the border of two groups, with power cuts that take what was not synced.
        #[test]
        fn pages_are_what_a_plain_list_says(acts in proptest::collection::vec(any_act(), 1..40)) {
            let disk = SimDisk::new();
            let file = page_file(&disk);
            file.resize(1_030 * FIRST).unwrap();
            file.sync().unwrap();
            disk.sync_names().unwrap();
            let mut model = vec![0_u8; 1_030];
            let mut durable = model.clone();
            for act in acts {
                match act {
                    Act::Write(at, fill, count) => {
                        let from = usize::try_from(at).unwrap();
                        let Some(pages) = model.get_mut(from..from + count) else { continue };
                        pages.fill(fill);
                        file.write(at * FIRST, &vec![fill; count * PAGE_BYTES]).unwrap();
                    }
                    Act::Resize(pages) => {
                        model.resize(usize::try_from(pages).unwrap(), 0);
                        file.resize(pages * FIRST).unwrap();
                    }
                    Act::Sync => {
                        file.sync().unwrap();
                        durable.clone_from(&model);
                    }
                }
            }
            let same = |file: &PageFile, model: &[u8]| {
                prop_assert_eq!(file.size().unwrap(), model.len() as u64 * FIRST);
                for (number, fill) in model.iter().enumerate().skip(1) {
                    prop_assert_eq!(read(file, number as u64).unwrap(), page(*fill));
                }
                Ok(())
            };
            same(&file, &model)?;
            same(&page_file(&disk.crash_dropping_all()), &durable)?;
        }
    }
}
