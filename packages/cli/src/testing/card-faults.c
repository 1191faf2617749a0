// Stands between ggml and the Vulkan loader (LD_PRELOAD) and has the driver report faults, as a real one would:
// - a file at CARD_LOST: the next submission finds the card lost, once; the file is removed by that;
// - CARD_BYTES_MAX: no allocation larger than that finds memory.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*function)(void);
typedef function (*get_address)(void *, const char *);

// Of vulkan_core.h.
enum { out_of_device_memory = -2, device_lost = -4 };
struct allocate_info {
  uint32_t type;
  const void *next;
  uint64_t bytes;
  uint32_t memory_type;
};
typedef int32_t (*queue_submit)(void *, uint32_t, const void *, uint64_t);
typedef int32_t (*allocate_memory)(void *, const struct allocate_info *, const void *, uint64_t *);

static queue_submit real_submit;
static allocate_memory real_allocate;

static int32_t submit(void *queue, uint32_t count, const void *submits, uint64_t fence) {
  const char *lost = getenv("CARD_LOST");
  if (lost && unlink(lost) == 0) return device_lost;
  return real_submit(queue, count, submits, fence);
}

static int32_t allocate(void *device, const struct allocate_info *info, const void *callbacks, uint64_t *memory) {
  const char *most = getenv("CARD_BYTES_MAX");
  if (most && info->bytes > strtoull(most, NULL, 10)) return out_of_device_memory;
  return real_allocate(device, info, callbacks, memory);
}

static get_address real_get(const char *name) {
  void *loader = dlopen("libvulkan.so.1", RTLD_LAZY | RTLD_NOLOAD);
  return loader ? (get_address)dlsym(loader, name) : NULL;
}

static function instead_of(const char *name, function found) {
  if (!found) return NULL;
  if (strcmp(name, "vkQueueSubmit") == 0) {
    real_submit = (queue_submit)found;
    return (function)submit;
  }
  if (strcmp(name, "vkAllocateMemory") == 0) {
    real_allocate = (allocate_memory)found;
    return (function)allocate;
  }
  return found;
}

function vkGetDeviceProcAddr(void *device, const char *name) {
  get_address get = real_get("vkGetDeviceProcAddr");
  return get ? instead_of(name, get(device, name)) : NULL;
}

function vkGetInstanceProcAddr(void *instance, const char *name) {
  if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (function)vkGetDeviceProcAddr;
  if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (function)vkGetInstanceProcAddr;
  get_address get = real_get("vkGetInstanceProcAddr");
  return get ? instead_of(name, get(instance, name)) : NULL;
}
