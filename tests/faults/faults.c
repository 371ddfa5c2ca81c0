/* Preloaded into a process: counts what it does to files below a folder, and at one count kills the process or lets the
   call fail. Everything is armed from Python by `faults_arm`, so that only what a test does is counted.

   Build: cc -shared -fPIC -O1 -o faults.so faults.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static volatile long at = -1, count = 0;
static volatile int number = 0, armed = 0, lasting = 0;

/* number: SIGKILL is -9, otherwise an errno; lasting: every call from there on fails. */
void faults_arm(const char *where, long when, int what, int stays) {
  strncpy(folder, where, PATH_MAX - 1);
  at = when; number = what; lasting = stays; count = 0; armed = 1;
}
long faults_count(void) { return count; }
void faults_disarm(void) { armed = 0; }

static int below(const char *path) {
  char whole[PATH_MAX];
  if (!armed || path == NULL) return 0;
  if (path[0] != '/') {
    if (getcwd(whole, sizeof whole) == NULL || strlen(whole) + strlen(path) + 2 > PATH_MAX) return 0;
    strcat(whole, "/"); strcat(whole, path);
    path = whole;
  }
  return strncmp(path, folder, strlen(folder)) == 0;
}

static int below_fd(int fd) {
  char link[64], path[PATH_MAX];
  if (!armed) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return below(path);
}

/* Whether this call is to fail; the process may end here. */
static int strikes(void) {
  long now = __sync_add_and_fetch(&count, 1);
  if (at < 0 || (lasting ? now < at : now != at)) return 0;
  if (number < 0) { kill(getpid(), -number); pause(); }
  errno = number;
  return 1;
}

#define REAL(name) static __typeof__(name) *real = NULL; if (!real) real = dlsym(RTLD_NEXT, #name)
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))

int open(const char *path, int flags, ...) {
  REAL(open); va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
  if (WRITES(flags) && below(path) && strikes()) return -1;
  return real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  REAL(open64); va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
  if (WRITES(flags) && below(path) && strikes()) return -1;
  return real(path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...) {
  REAL(openat); va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
  if (WRITES(flags) && below(path) && strikes()) return -1;
  return real(dir, path, flags, mode);
}
int openat64(int dir, const char *path, int flags, ...) {
  REAL(openat64); va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
  if (WRITES(flags) && below(path) && strikes()) return -1;
  return real(dir, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
  REAL(fopen);
  if (strpbrk(mode, "wa+") && below(path) && strikes()) return NULL;
  return real(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
  REAL(fopen64);
  if (strpbrk(mode, "wa+") && below(path) && strikes()) return NULL;
  return real(path, mode);
}
size_t fwrite(const void *from, size_t size, size_t n, FILE *file) {
  REAL(fwrite);
  if (file != stdout && file != stderr && below_fd(fileno(file)) && strikes()) return 0;
  return real(from, size, n, file);
}
ssize_t write(int fd, const void *from, size_t n) {
  REAL(write);
  if (below_fd(fd) && strikes()) return -1;
  return real(fd, from, n);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t where) {
  REAL(pwrite);
  if (below_fd(fd) && strikes()) return -1;
  return real(fd, from, n, where);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t where) {
  REAL(pwrite64);
  if (below_fd(fd) && strikes()) return -1;
  return real(fd, from, n, where);
}
ssize_t writev(int fd, const struct iovec *from, int n) {
  REAL(writev);
  if (below_fd(fd) && strikes()) return -1;
  return real(fd, from, n);
}
int fsync(int fd) { REAL(fsync); if (below_fd(fd) && strikes()) return -1; return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); if (below_fd(fd) && strikes()) return -1; return real(fd); }
int ftruncate(int fd, off_t n) { REAL(ftruncate); if (below_fd(fd) && strikes()) return -1; return real(fd, n); }
int rename(const char *from, const char *to) { REAL(rename); if (below(to) && strikes()) return -1; return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
  REAL(renameat); if (below(to) && strikes()) return -1; return real(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); if (below(path) && strikes()) return -1; return real(path, mode); }
int unlink(const char *path) { REAL(unlink); if (below(path) && strikes()) return -1; return real(path); }
int unlinkat(int dir, const char *path, int flags) {
  REAL(unlinkat); if ((path[0] == 0x2f ? below(path) : below_fd(dir)) && strikes()) return -1; return real(dir, path, flags);
}
int rmdir(const char *path) { REAL(rmdir); if (below(path) && strikes()) return -1; return real(path); }
