"""What not every system has, each with a fallback that works everywhere; no other module names a system.

| here | where it is | elsewhere |
|---|---|---|
| `cores.usable_cores` | sched_getaffinity(2): Linux | all cores of the machine |
| `locks.file_lock` | flock(2) | a range of bytes, `msvcrt.locking`: Windows |
| `files.clone` | the ioctl FICLONE: Linux | no clone: the caller links or copies |
| `files.has_data`, `files.hole_after` | lseek(2) SEEK_DATA and SEEK_HOLE | a file without holes |
| `files.read_at`, `files.write_at` | pread(2), pwrite(2) | seek and read, one thread at a time |
| `files.sync_file_system` | syncfs(2) | none: each file is synced by itself |
| `files.sync_data` | fdatasync(2) | F_FULLFSYNC: macOS; fsync of a file opened for writing: Windows |
| `files.sync_growing` | fdatasync(2): Linux | nothing: what was written waits for `sync_data` |
| `files.sync_folder` | fsync(2) of a folder | nothing |
| `files.link_opened` | link(2) of a file that is open | no link: Windows renames no name of an open file |
| `files.allocated` | `st_blocks` | what Windows calls the compressed size |
| `files.open_beneath` | openat(2) with O_NOFOLLOW | looked at before and after it is opened |
| `files.drop_cached` | posix_fadvise(2): Linux | nothing |
| `owners` | user ids and modes | the folder's own access list |
| `sleep.seconds_asleep` | CLOCK_BOOTTIME: Linux | the time of day against a monotonic clock |
| `disk_counts` | /sys: Linux, for ext4 and btrfs | 0, not counted |
| `process` | setpriority(2), ioprio_set(2), RLIMIT_NOFILE, /proc/self/statm | nothing, no limit, not known |
| `sockets.unix_sockets_work` | unix(7) and /proc/self/fd: Linux | a port on loopback with a token |
| `sockets.take_port_again` | SO_REUSEADDR | nothing: on Windows it takes the port from the program that has it |
| `sockets.unacknowledged` | TIOCOUTQ of a TCP socket: Linux | 0, not told |
| `sockets.full_segments` | TCP_CORK: Linux | segments as the system cuts them |
| `sockets.shut_listening` | shutdown(2) of a listening socket: Linux | cannot be done, which the caller says |

Each module chooses by what Python offers, not by the system's name. tests/unit/portable runs both ways of each on one
system. The parts for macOS and Windows follow their documentation and have not been run there.
"""
