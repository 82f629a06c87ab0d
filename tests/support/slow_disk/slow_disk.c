/* When preloaded, makes a disk slow: each write to a regular file takes as long as SLOW_DISK bytes per second allow.
 *
 * The writes of a process wait one after the other, as on one disk. Other writes do not wait.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;

static void take(int fd, ssize_t written) {
  static double rate = 0;
  struct stat found;
  if (rate == 0) rate = getenv("SLOW_DISK") ? atof(getenv("SLOW_DISK")) : -1;
  if (written <= 0 || rate <= 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return;
  double seconds = (double)written / rate;
  struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  pthread_mutex_lock(&disk);
  nanosleep(&wait, NULL);
  pthread_mutex_unlock(&disk);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  ssize_t done = REAL(write)(fd, data, size);
  take(fd, done);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ssize_t done = REAL(writev)(fd, parts, count);
  take(fd, done);
  return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  ssize_t done = REAL(pwrite64)(fd, data, size, at);
  take(fd, done);
  return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  ssize_t done = REAL(pwritev64)(fd, parts, count, at);
  take(fd, done);
  return done;
}
