//! How system calls can fail. The list is for x86-64; a call that it does not know fails the run.

use libc as c;
use nix::errno::Errno::{
    self, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBUSY, ECONNABORTED, ECONNREFUSED, ECONNRESET,
    EINTR, EINVAL, EIO, EMFILE, ENETUNREACH, ENFILE, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOSYS, ENOTTY, EPERM,
    EROFS, ESTALE, ETXTBSY,
};

/// A system call.
pub struct Call {
    pub number: i64,
    pub name: &'static str,
    /// The ways in which it fails for want of something, or where a sandbox or a file system forbids it.
    pub errnos: &'static [Errno],
}

const fn call(number: i64, name: &'static str, errnos: &'static [Errno]) -> Call {
    Call { number, name, errnos }
}

/// The calls that can fail.
pub const CALLS: &[Call] = &[
    call(c::SYS_openat, "openat", &[EMFILE, EACCES, ENOMEM, EINTR]),
    call(c::SYS_open, "open", &[EMFILE, EACCES, ENOMEM, EINTR]),
    call(c::SYS_close, "close", &[EIO, EINTR]),
    call(c::SYS_read, "read", &[EIO, EINTR]),
    call(c::SYS_pread64, "pread64", &[EIO, EINTR]),
    call(c::SYS_write, "write", &[EIO, ENOSPC, EINTR, EAGAIN]),
    call(c::SYS_writev, "writev", &[EIO, ENOSPC, EINTR, EAGAIN]),
    call(c::SYS_lseek, "lseek", &[EINVAL]),
    call(c::SYS_fcntl, "fcntl", &[EPERM, ENOMEM]),
    call(c::SYS_ioctl, "ioctl", &[ENOTTY, EIO]),
    call(c::SYS_access, "access", &[EACCES, EIO]),
    call(c::SYS_faccessat, "faccessat", &[EACCES, EIO]),
    call(c::SYS_faccessat2, "faccessat2", &[EACCES, ENOSYS]),
    call(c::SYS_stat, "stat", &[EACCES, EIO]),
    call(c::SYS_fstat, "fstat", &[EIO]),
    call(c::SYS_lstat, "lstat", &[EACCES, EIO]),
    call(c::SYS_newfstatat, "newfstatat", &[EACCES, EIO]),
    call(c::SYS_statx, "statx", &[EACCES, EPERM]),
    call(c::SYS_readlink, "readlink", &[EACCES, ENOMEM]),
    call(c::SYS_readlinkat, "readlinkat", &[EACCES, ENOMEM]),
    call(c::SYS_getdents64, "getdents64", &[EIO, ENOENT]),
    call(c::SYS_getcwd, "getcwd", &[ENOENT, ENOMEM]),
    call(c::SYS_chdir, "chdir", &[EACCES, ESTALE]),
    call(c::SYS_unlink, "unlink", &[EACCES, EROFS]),
    call(c::SYS_rename, "rename", &[EACCES, EROFS]),
    call(c::SYS_utimensat, "utimensat", &[EACCES, EROFS]),
    call(c::SYS_ftruncate, "ftruncate", &[EIO]),
    call(c::SYS_dup, "dup", &[EMFILE]),
    call(c::SYS_dup2, "dup2", &[EBUSY, EMFILE]),
    call(c::SYS_dup3, "dup3", &[EBUSY, EMFILE]),
    call(c::SYS_pipe, "pipe", &[EMFILE, ENFILE]),
    call(c::SYS_pipe2, "pipe2", &[EMFILE, ENFILE]),
    call(c::SYS_poll, "poll", &[ENOMEM, EINTR, EINVAL, EAGAIN]),
    call(c::SYS_ppoll, "ppoll", &[ENOMEM, EINTR, EINVAL]),
    call(c::SYS_select, "select", &[ENOMEM, EINTR]),
    call(c::SYS_pselect6, "pselect6", &[ENOMEM, EINTR]),
    call(c::SYS_timerfd_create, "timerfd_create", &[EMFILE, ENOMEM, ENODEV, EINVAL]),
    call(c::SYS_timerfd_settime, "timerfd_settime", &[EINVAL, EPERM]),
    call(c::SYS_setitimer, "setitimer", &[EINVAL]),
    call(c::SYS_clock_gettime, "clock_gettime", &[EINVAL, EPERM]),
    call(c::SYS_clock_nanosleep, "clock_nanosleep", &[EINTR]),
    call(c::SYS_nanosleep, "nanosleep", &[EINTR]),
    call(c::SYS_socket, "socket", &[EMFILE, ENOBUFS, EAFNOSUPPORT, EACCES]),
    call(c::SYS_socketpair, "socketpair", &[EMFILE, ENOMEM]),
    call(c::SYS_bind, "bind", &[EADDRINUSE, EACCES, ENOMEM]),
    call(c::SYS_listen, "listen", &[EADDRINUSE, EPERM]),
    call(c::SYS_accept, "accept", &[ECONNABORTED, EMFILE, ENOMEM, EINTR]),
    call(c::SYS_accept4, "accept4", &[ECONNABORTED, EMFILE, ENOMEM, EINTR]),
    call(c::SYS_connect, "connect", &[ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, EAGAIN]),
    call(c::SYS_sendto, "sendto", &[ENOBUFS, EINTR, EPERM]),
    call(c::SYS_sendmsg, "sendmsg", &[ENOBUFS, EINTR, EPERM]),
    call(c::SYS_recvfrom, "recvfrom", &[ENOMEM, EINTR, ECONNRESET]),
    call(c::SYS_recvmsg, "recvmsg", &[ENOMEM, EINTR]),
    call(c::SYS_shutdown, "shutdown", &[ENOBUFS]),
    call(c::SYS_setsockopt, "setsockopt", &[ENOMEM, EPERM]),
    call(c::SYS_getsockopt, "getsockopt", &[ENOBUFS, EPERM]),
    call(c::SYS_getsockname, "getsockname", &[ENOBUFS]),
    call(c::SYS_getpeername, "getpeername", &[ENOBUFS]),
    call(c::SYS_fork, "fork", &[EAGAIN, ENOMEM]),
    call(c::SYS_vfork, "vfork", &[EAGAIN, ENOMEM]),
    call(c::SYS_clone, "clone", &[EAGAIN, ENOMEM]),
    call(c::SYS_clone3, "clone3", &[EAGAIN, ENOSYS]),
    call(c::SYS_execve, "execve", &[ENOMEM, EACCES, ENOENT, ETXTBSY]),
    call(c::SYS_wait4, "wait4", &[EINTR]),
    call(c::SYS_waitid, "waitid", &[EINTR]),
    call(c::SYS_kill, "kill", &[EPERM]),
    call(c::SYS_tgkill, "tgkill", &[EPERM]),
    call(c::SYS_setsid, "setsid", &[EPERM]),
    call(c::SYS_setpgid, "setpgid", &[EPERM]),
    call(c::SYS_prctl, "prctl", &[EPERM, EINVAL]),
    call(c::SYS_rt_sigaction, "rt_sigaction", &[EPERM]),
    call(c::SYS_getrandom, "getrandom", &[EINTR, ENOSYS]),
    call(c::SYS_mmap, "mmap", &[ENOMEM]),
    call(c::SYS_setrlimit, "setrlimit", &[EPERM]),
    call(c::SYS_prlimit64, "prlimit64", &[EPERM]),
];

/// The calls that do not fail, or not for a reason that a program could meet.
pub const NEVER_FAIL: &[i64] = &[
    c::SYS_getpid,
    c::SYS_getppid,
    c::SYS_gettid,
    c::SYS_getuid,
    c::SYS_geteuid,
    c::SYS_getpgrp,
    c::SYS_getpgid,
    c::SYS_getsid,
    c::SYS_uname,
    c::SYS_umask,
    // It returns the old end.
    c::SYS_brk,
    c::SYS_munmap,
    c::SYS_mprotect,
    c::SYS_madvise,
    c::SYS_mremap,
    c::SYS_futex,
    c::SYS_sigaltstack,
    c::SYS_sched_yield,
    c::SYS_sched_getaffinity,
    c::SYS_set_tid_address,
    c::SYS_set_robust_list,
    c::SYS_rseq,
    c::SYS_arch_prctl,
    c::SYS_rt_sigprocmask,
    c::SYS_pause,
    c::SYS_alarm,
    c::SYS_rt_sigreturn,
    c::SYS_restart_syscall,
    c::SYS_exit,
    c::SYS_exit_group,
];

/// The calls that may also fail for good: those that the loop cannot do without, as far as one can be without them.
pub const LASTING: &[i64] = &[c::SYS_poll, c::SYS_timerfd_create, c::SYS_timerfd_settime];

/// What tells kinds of a call apart: the descriptor, the command, the signal.
pub fn kind([number, first, second]: [i64; 3]) -> [i64; 2] {
    let detail = match number {
        c::SYS_fcntl | c::SYS_ioctl | c::SYS_kill => second,
        c::SYS_read
        | c::SYS_write
        | c::SYS_sendto
        | c::SYS_sendmsg
        | c::SYS_recvfrom
        | c::SYS_recvmsg
        | c::SYS_socket
        | c::SYS_prctl
        | c::SYS_dup2
        | c::SYS_dup3 => first,
        _ => 0,
    };
    [number, detail]
}
