// Pages of mimalloc of which blocks were freed, a few at a time: what is public of it looks at all pages at once, or at
// none, and gives none back of which a block is in use. src/memory/pages.rs says why, and declares what stands here.
#include "mimalloc.h"
#include "mimalloc/internal.h"
#include "mimalloc/prim.h"
#include "bitmap.h"
#include <sys/mman.h>

#if MI_MALLOC_VERSION != 30302
#error "written for the structures of mimalloc 3.3.2: read them again, then change this number"
#endif

// Of arena.c, which its headers do not name.
size_t mi_arenas_get_count(mi_subproc_t* subproc);
mi_arena_t* mi_arena_from_index(mi_subproc_t* subproc, size_t index);
mi_page_t* mi_arena_page_at_slice(mi_arena_t* arena, size_t slice_index);

// Free pages are kept until corering_pages_purge; heaps are looked through by corering_pages_collect.
void corering_pages_keep(void) {
  mi_option_set(mi_option_purge_delay, 1L << 40);
  mi_option_set(mi_option_generic_collect, 1000000); // The most.
}

// Takes what other threads have freed in pages of the calling thread's heap, from this size class on, and frees pages
// that are empty: blocks_max blocks, a page counts for 32. True if there is more.
bool corering_pages_collect(size_t* bin, size_t blocks_max) {
  mi_theap_t* const theap = _mi_theap_default();
  if (!mi_theap_is_initialized(theap)) return false;
  for (size_t blocks = 0; *bin < MI_BIN_FULL; ++*bin) {
    mi_page_queue_t* const queue = &theap->pages[*bin];
    for (mi_page_t *page = queue->first, *next; page != NULL; page = next) {
      next = page->next;
      if (mi_page_thread_free(page) != NULL) {
        const size_t used = page->used;
        _mi_page_free_collect(page, false);
        blocks += used - page->used;
      }
      // One that rests is the last of its class.
      if (mi_page_all_free(page) && page->retire_expire == 0) {
        _mi_page_free(page, queue);
        blocks += 32;
      }
      if (blocks_max <= blocks) return true;
    }
  }
  *bin = 0;
  _mi_theap_collect_retired(theap, true);
  return false;
}

// Gives free pages of all threads back to the system.
void corering_pages_purge(void) {
  mi_theap_t* const theap = _mi_theap_default();
  if (mi_theap_is_initialized(theap)) _mi_arenas_collect(true, true, theap->tld);
}

// What corering_pages_thin has done, and where it goes on. Of the calling thread alone.
typedef struct {
  size_t sweep;      // Number of the sweep.
  size_t bin;        // Size class: it looks at pages of the heap, then at those that were abandoned.
  mi_page_t* page;   // The page of the heap at which it goes on, if it is still there; NULL: the first.
  uint8_t* start;    // Where that page's blocks begin.
  size_t arena;      // The arena, and the slice of it, at which it goes on with abandoned pages.
  size_t slice;
  bool is_abandoned; // It is at those.
  size_t given_bytes;
  size_t marked_bytes; // In blocks that it has seen free for the first time.
} corering_thin_t;

// From what size on blocks are looked at: each of them has a whole page of the system behind its first word.
#define THIN_BYTES_MIN (8 * 1024)
#define SYSTEM_PAGE 4096

// The second word of a block that was looked at: a number that nothing else writes there, the sweep, whether its pages
// were given back. What takes the block writes over it; if it does not, the block may be given back too soon or not
// again, and either is harmless, since nobody's bytes are in it.
typedef struct {
  mi_block_t block;
  uint64_t mark;
} thin_block_t;
#define MARK ((uint64_t)0x7c6bd1f3a95e << 16)
#define MARK_MASK (~(uint64_t)0xffff)

// What looking at a block costs, giving it back beside that, and so many pages of it: about 0.1 us each.
#define WORK_GIVE 16
#define PAGES_OF_WORK 8

// Gives back what lies in the blocks of a list. It ends at what this sweep has seen: who frees puts in front.
static size_t thin_list(corering_thin_t* thin, const mi_page_t* page, mi_block_t* block, bool is_at_once) {
  const uint64_t sweep = (thin->sweep & 0x7fff) << 1;
  size_t work = 0;
  for (; block != NULL; block = mi_block_next(page, block)) {
    uint64_t* const mark = &((thin_block_t*)block)->mark;
    const bool is_marked = (*mark & MARK_MASK) == MARK;
    if (is_marked && (*mark & 0xfffe) == sweep) break;
    bool is_given = is_marked && (*mark & 1) != 0;
    work++;
    if (!is_given && (is_marked || is_at_once)) {
      const uintptr_t from = _mi_align_up((uintptr_t)block + sizeof(thin_block_t), SYSTEM_PAGE);
      const uintptr_t to = _mi_align_down((uintptr_t)block + mi_page_block_size(page), SYSTEM_PAGE);
      if (from < to) {
        madvise((void*)from, to - from, MADV_DONTNEED);
        work += WORK_GIVE + (to - from) / SYSTEM_PAGE / PAGES_OF_WORK;
        thin->given_bytes += to - from;
      }
      is_given = true;
    }
    if (!is_marked && !is_given) thin->marked_bytes += mi_page_block_size(page);
    *mark = MARK | sweep | (is_given ? 1 : 0);
  }
  return work;
}

// The same of a page's free blocks, by who owns the page.
static size_t thin_page(corering_thin_t* thin, mi_page_t* page, bool is_at_once) {
  if (page->memid.is_pinned) return 1;
  size_t work = 1 + thin_list(thin, page, page->local_free, is_at_once);
  // Blocks that nobody has had yet are thought to be zero, and are not in memory.
  if (!page->free_is_zero) work += thin_list(thin, page, page->free, is_at_once);
  return work;
}

typedef struct {
  corering_thin_t* thin;
  mi_theap_t* theap;
  mi_bitmap_t* abandoned;
  size_t work;
  size_t work_max;
  bool is_at_once;
} thin_visit_t;

// A page that its heap has put down, full as it was: of blocks above 84 KiB it does not take it up again when some are
// freed, but when it needs one, and finds it. Takes it up as who needs a block does (`mi_arenas_page_try_find_abandoned`
// in arena.c), and puts it down again as who has filled it does. Only pages that this thread's heap has put down:
// those of others are looked at by others.
static bool thin_abandoned(size_t slice_index, size_t slice_count, mi_arena_t* arena, void* arg) {
  thin_visit_t* const visit = (thin_visit_t*)arg;
  if (slice_index < visit->thin->slice) return true;
  visit->thin->slice = slice_index;
  if (visit->work_max <= visit->work) return false;
  visit->thin->slice = slice_index + 1;
  visit->work++;
  // Who has cleared the bit may look at the page: whoever would take it away waits until the bit is set again.
  if (!mi_bitmap_clear(visit->abandoned, slice_index)) return true;
  mi_page_t* const page = mi_arena_page_at_slice(arena, slice_index);
  mi_theap_t* const theap = visit->theap;
  if (page->theap != theap || !mi_page_claim_ownership(page)) {
    mi_bitmap_set(visit->abandoned, slice_index);
    return true;
  }
  mi_heap_t* const heap = mi_page_heap(page);
  mi_atomic_decrement_relaxed(&heap->abandoned_count[visit->thin->bin]);
  mi_page_clear_abandoned_mapped(page);
  mi_theap_stat_decrease(theap, pages_abandoned, 1);
  _mi_page_free_collect(page, false);
  if (mi_page_all_free(page)) {
    _mi_arenas_page_free(page, theap);
    return true;
  }
  visit->work += thin_page(visit->thin, page, visit->is_at_once);
  _mi_arenas_page_abandon(page, theap);
  return true;
}

// Gives back the pages of the system that lie wholly in free blocks, of pages of the calling thread's heap and of those
// it has put down: blocks that an earlier sweep has seen free already, or all at once. So much work, about; true if
// there is more.
bool corering_pages_thin(corering_thin_t* thin, bool is_at_once, size_t work_max) {
  mi_theap_t* const theap = _mi_theap_default();
  if (!mi_theap_is_initialized(theap)) return false;
  size_t work = 0;
  while (thin->bin < MI_BIN_HUGE) {
    mi_page_queue_t* const queue = &theap->pages[thin->bin];
    if (!thin->is_abandoned && THIN_BYTES_MIN <= queue->block_size) {
      mi_page_t* page = queue->first;
      if (thin->page != NULL) {
        // It may have been freed, filled or moved since. If this thread has it, it is in its queue.
        page = NULL;
        if (_mi_safe_ptr_page(thin->start) == thin->page && mi_page_thread_id(thin->page) == theap->tld->thread_id &&
            mi_page_block_size(thin->page) == queue->block_size && !mi_page_is_in_full(thin->page)) {
          page = thin->page;
        }
        thin->page = NULL;
      }
      for (; page != NULL; page = page->next) {
        if (work_max <= work) {
          thin->page = page;
          thin->start = mi_page_start(page);
          return true;
        }
        work += thin_page(thin, page, is_at_once);
      }
    }
    if (THIN_BYTES_MIN <= queue->block_size) {
      thin->is_abandoned = true;
      mi_heap_t* const heap = _mi_theap_heap(theap);
      for (; thin->arena < mi_arenas_get_count(heap->subproc); thin->arena++, thin->slice = 0) {
        mi_arena_t* const arena = mi_arena_from_index(heap->subproc, thin->arena);
        if (arena == NULL || mi_atomic_load_relaxed(&heap->abandoned_count[thin->bin]) == 0) continue;
        mi_arena_pages_t* const pages =
            mi_atomic_load_ptr_acquire(mi_arena_pages_t, &heap->arena_pages[arena->arena_idx]);
        if (pages == NULL) continue;
        mi_bitmap_t* const abandoned = pages->pages_abandoned[thin->bin];
        thin_visit_t visit = {thin, theap, abandoned, work, work_max, is_at_once};
        const bool is_through = _mi_bitmap_forall_set(abandoned, &thin_abandoned, arena, &visit);
        work = visit.work;
        if (!is_through) return true;
      }
    }
    thin->bin++;
    thin->is_abandoned = false;
    thin->arena = thin->slice = 0;
    if (work_max <= work) return true;
  }
  thin->bin = 0;
  thin->page = NULL;
  thin->sweep++;
  return false;
}
