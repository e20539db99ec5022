// Pages of mimalloc of which blocks were freed, a few at a time: what is public of it looks at all pages at once, or at
// none. src/memory/pages.rs says why, and declares what stands here.
#include "mimalloc.h"
#include "mimalloc/internal.h"
#include "mimalloc/prim.h"

#if MI_MALLOC_VERSION != 30302
#error "written for the structures of mimalloc 3.3.2: read them again, then change this number"
#endif

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
