/* Lets calls of one kind fail on files below a folder, from the N-th one on.

   FAULT_CALL    open, read, write, rename, mkdir, unlink, fsync, ftruncate or flock
   FAULT_ERRNO   the number of the error
   FAULT_FROM    N, from 1 on
   FAULT_FOLDER  the folder

   To be loaded by LD_PRELOAD; calls that the C library makes itself are not seen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int count;

static int fails(const char *call, const char *path) {
  const char *wanted = getenv("FAULT_CALL"), *folder = getenv("FAULT_FOLDER");
  if (!wanted || strcmp(wanted, call) || strncmp(path, folder, strlen(folder))) return 0;
  if (atomic_fetch_add(&count, 1) + 1 < atoi(getenv("FAULT_FROM"))) return 0;
  errno = atoi(getenv("FAULT_ERRNO"));
  return 1;
}

static int fails_on(const char *call, int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BY_PATH(call, result, name, parameters, path, ...) \
  result name parameters { return fails(#call, path) ? -1 : NEXT(name)(__VA_ARGS__); }
#define BY_FILE(call, result, name, parameters, ...) \
  result name parameters { return fails_on(#call, fd) ? -1 : NEXT(name)(__VA_ARGS__); }
#define OPEN(name, parameters, ...)                               \
  int name parameters {                                           \
    va_list rest;                                                 \
    va_start(rest, flags);                                        \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                 \
    int writes = flags & (O_WRONLY | O_RDWR | O_CREAT);           \
    return writes && fails("open", path) ? -1 : NEXT(name)(__VA_ARGS__, flags, mode); \
  }

OPEN(open, (const char *path, int flags, ...), path)
OPEN(open64, (const char *path, int flags, ...), path)
OPEN(openat, (int fd, const char *path, int flags, ...), fd, path)
OPEN(openat64, (int fd, const char *path, int flags, ...), fd, path)

BY_FILE(read, ssize_t, read, (int fd, void *to, size_t n), fd, to, n)
BY_FILE(read, ssize_t, pread, (int fd, void *to, size_t n, off_t at), fd, to, n, at)
BY_FILE(read, ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), fd, to, n, at)

BY_FILE(write, ssize_t, write, (int fd, const void *from, size_t n), fd, from, n)
BY_FILE(write, ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), fd, from, n, at)
BY_FILE(write, ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t at), fd, from, n, at)
BY_FILE(write, ssize_t, writev, (int fd, const struct iovec *from, int n), fd, from, n)

BY_PATH(rename, int, rename, (const char *from, const char *to), from, from, to)
BY_PATH(rename, int, renameat, (int a, const char *from, int b, const char *to), from, a, from, b, to)
BY_PATH(mkdir, int, mkdir, (const char *path, mode_t mode), path, path, mode)
BY_PATH(mkdir, int, mkdirat, (int fd, const char *path, mode_t mode), path, fd, path, mode)
BY_PATH(unlink, int, unlink, (const char *path), path, path)

BY_FILE(fsync, int, fsync, (int fd), fd)
BY_FILE(fsync, int, fdatasync, (int fd), fd)
BY_FILE(ftruncate, int, ftruncate, (int fd, off_t n), fd, n)
BY_FILE(ftruncate, int, ftruncate64, (int fd, off64_t n), fd, n)

int flock(int fd, int operation) {
  return fails_on("flock", fd) ? -1 : NEXT(flock)(fd, operation);
}
