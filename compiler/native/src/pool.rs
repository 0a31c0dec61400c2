//! The pool of `runtime/threads`, as applications have it.

use std::ffi::{c_int, c_void};
use std::io;

use crate::Threads;

unsafe extern "C" {
    static onnxc_pool_bytes: usize;
    fn onnxc_pool_start(pool: *mut c_void, threads: i32) -> c_int;
    fn onnxc_pool_stop(pool: *mut c_void);
    fn onnxc_pool_threads(pool: *mut c_void) -> Threads;
}

/// Threads that wait for a library's loops; they end with it.
pub struct Pool {
    /// `struct onnxc_pool`, which must not move while it runs.
    memory: Box<[Line]>,
}

/// A cache line: more than a pool's alignment.
#[derive(Clone)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Pool {
    /// A pool of so many threads, that of the caller of a loop among them: 1 to 64.
    pub fn start(threads: usize) -> io::Result<Pool> {
        // SAFETY: a constant.
        let bytes = unsafe { onnxc_pool_bytes };
        let mut memory = vec![Line([0; 64]); bytes.div_ceil(size_of::<Line>())].into_boxed_slice();
        let threads = i32::try_from(threads).unwrap_or(i32::MAX);
        // SAFETY: the memory is a pool's size, and stays where it is until the pool is stopped.
        match unsafe { onnxc_pool_start(memory.as_mut_ptr().cast(), threads) } {
            0 => Ok(Pool { memory }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// What `<name>_run_threads` takes, as long as the pool lives: one loop at a time.
    pub fn hook(&mut self) -> Threads {
        // SAFETY: a pool that was started.
        unsafe { onnxc_pool_threads(self.memory.as_mut_ptr().cast()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: a pool that was started; whoever runs a loop on it has to keep it.
        unsafe { onnxc_pool_stop(self.memory.as_mut_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::thread::ThreadId;

    use super::*;

    type Seen = Mutex<(Vec<i32>, HashSet<ThreadId>)>;

    unsafe extern "C" fn note(context: *mut c_void, first: i32, last: i32) {
        // SAFETY: the test hands this over, and keeps it.
        let seen = unsafe { &*context.cast::<Seen>() };
        let mut seen = seen.lock().unwrap();
        seen.0.extend(first..last);
        seen.1.insert(std::thread::current().id());
    }

    #[test]
    fn a_loop_covers_its_range_once() {
        let mut pool = Pool::start(3).unwrap();
        let Threads { parallel_for, pool } = pool.hook();
        for count in [0, 1, 2, 3, 100] {
            let seen = Seen::default();
            // SAFETY: `note` takes what is handed over.
            unsafe { parallel_for(pool, note, (&raw const seen).cast_mut().cast(), count) };
            let (mut places, threads) = seen.into_inner().unwrap();
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
            assert!(threads.len() <= 3);
        }
    }

    #[test]
    fn a_pool_has_at_least_one_thread_and_at_most_64() {
        assert!(Pool::start(1).is_ok());
        for threads in [0, 65, usize::MAX] {
            let error = Pool::start(threads).err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::InvalidInput), "{threads}");
        }
    }
}
