//! Builds what is in C: `src/memory/pages.c`, against the headers of the allocator, and the Lua that runs scripts.
//!
//! Lua is built of the sources of Lua 5.1.5 as the crate `lua-src` ships them, with the edits below.
//!
//! Plain Lua 5.1.5 is not safe for scripts of strangers: the parser may use a chunk's name after it was collected
//! (CVE-2025-49844), `unpack` and the long-bracket lexer overflow (CVE-2025-46817, CVE-2025-46819), a call of a
//! vararg function may write past the stack (CVE-2014-5461), bytecode is run as it comes, no table can be made
//! read-only, a pattern recurses as deep as it is long, and some library functions loop for hours where no hook is
//! called. Each edit names what it replaces and must be found exactly once, so that a change of the sources ends the
//! build instead of leaving a hole open. `src/sys/lua.rs` is the other side; `src/script/` tests each hole.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{env, fs, panic};

/// What is compiled: no `io`, `os`, `package`, `debug`, and nothing that reads or writes bytecode.
const SOURCES: &[&str] = &[
    "lapi", "lauxlib", "lbaselib", "lcode", "ldebug", "ldo", "lfunc", "lgc", "llex", "lmathlib", "lmem", "lobject",
    "lopcodes", "lparser", "lstate", "lstring", "lstrlib", "ltable", "ltablib", "ltm", "lvm", "lzio",
];

/// Edits: file, what stands there (once), what stands there instead.
const EDITS: &[(&str, &str, &str)] = &[
    // Read-only tables: a byte of what was padding.
    ("lobject.h", "  lu_byte lsizenode;  /* log2", "  lu_byte readonly;\n  lu_byte lsizenode;  /* log2"),
    ("ltable.c", "  t->flags = cast_byte(~0);", "  t->flags = cast_byte(~0);\n  t->readonly = 0;"),
    (
        "lvm.c",
        "      TValue *oldval = luaH_set(L, h, key); /* do a primitive set */",
        "      TValue *oldval;\n      if (h->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n      \
         oldval = luaH_set(L, h, key);",
    ),
    (
        "lapi.c",
        "  setobj2t(L, luaH_set(L, hvalue(t), L->top-2), L->top-1);",
        "  if (hvalue(t)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n  \
         setobj2t(L, luaH_set(L, hvalue(t), L->top-2), L->top-1);",
    ),
    (
        "lapi.c",
        "  setobj2t(L, luaH_setnum(L, hvalue(o), n), L->top-1);",
        "  if (hvalue(o)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n  \
         setobj2t(L, luaH_setnum(L, hvalue(o), n), L->top-1);",
    ),
    (
        "lapi.c",
        "      hvalue(obj)->metatable = mt;",
        "      if (hvalue(obj)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n      \
         hvalue(obj)->metatable = mt;",
    ),
    (
        "lapi.c",
        "LUA_API int lua_setfenv (lua_State *L, int idx) {",
        "LUA_API void lua_setreadonly (lua_State *L, int idx, int on) {\n  TValue *t = index2adr(L, idx);\n  \
         hvalue(t)->readonly = (lu_byte)(on != 0);\n}\n\n\
         LUA_API int *lua_ending (void) {\n  static __thread int is_ending;\n  return &is_ending;\n}\n\n\
         LUA_API void lua_work (lua_State *L, size_t instructions) {\n  lua_Debug ar;\n  \
         if (L->hookcount > 0 && instructions < (size_t)L->hookcount) {\n    \
         L->hookcount -= (int)instructions;\n    return;\n  }\n  \
         if (L->hook == NULL || !L->allowhook) return;\n  resethookcount(L);\n  \
         ar.event = LUA_HOOKCOUNT;\n  ar.currentline = -1;\n  L->hook(L, &ar);\n}\n\n\
         LUA_API void lua_handcount (lua_State *from, lua_State *to) {\n  to->hook = from->hook;\n  \
         to->hookmask = from->hookmask;\n  to->basehookcount = from->basehookcount;\n  \
         to->hookcount = from->hookcount;\n}\n\n\
         LUA_API void lua_charge (lua_State *L, size_t instructions) {\n  \
         if (L->hookcount > 1) L->hookcount = (size_t)L->hookcount > instructions + 1 ? \
         L->hookcount - (int)instructions : 1;\n}\n\n\
         LUA_API int lua_isreadonly (lua_State *L, int idx) {\n  return hvalue(index2adr(L, idx))->readonly;\n}\n\n\
         static int assigns (const Proto *p) {\n  int i;\n  \
         for (i = 0; i < p->sizecode; i++) if (GET_OPCODE(p->code[i]) == OP_SETUPVAL) return 1;\n  \
         for (i = 0; i < p->sizep; i++) if (assigns(p->p[i])) return 1;\n  return 0;\n}\n\n\
         LUA_API int lua_assigns (lua_State *L, int idx) {\n  Closure *c = clvalue(index2adr(L, idx));\n  \
         return !c->c.isC && assigns(c->l.p);\n}\n\n\
         LUA_API const char *lua_bytes (lua_State *L, int idx, size_t *len) {\n  \
         StkId o = index2adr(L, idx);\n  if (!ttisstring(o)) return NULL;\n  \
         *len = tsvalue(o)->len;\n  return svalue(o);\n}\n\n\
         LUA_API int lua_pushpair (lua_State *L, int idx, int place) {\n  StkId t = index2adr(L, idx);\n  \
         if (!ttistable(t)) return -1;\n  place = luaH_pair(L, hvalue(t), L->top, place);\n  \
         if (place != 0) L->top += 2;\n  return place;\n}\n\n\
         LUA_API int lua_setfenv (lua_State *L, int idx) {",
    ),
    // The pairs of a table by their places: `luaH_next` looks for the key where it goes on.
    (
        "ltable.h",
        "LUAI_FUNC int luaH_next (",
        "LUAI_FUNC int luaH_pair (lua_State *L, Table *t, StkId key, int place);\nLUAI_FUNC int luaH_next (",
    ),
    (
        "ltable.c",
        "int luaH_next (lua_State *L, Table *t, StkId key) {",
        "int luaH_pair (lua_State *L, Table *t, StkId key, int place) {\n  \
         for (; place < t->sizearray; place++) {\n    if ((place & 0xff) == 0xff) lua_charge(L, 16);\n    \
         if (!ttisnil(&t->array[place])) {\n      setnvalue(key, cast_num(place+1));\n      \
         setobj2s(L, key+1, &t->array[place]);\n      return place + 1;\n    }\n  }\n  \
         for (; place - t->sizearray < sizenode(t); place++) {\n    \
         Node *n = gnode(t, place - t->sizearray);\n    if ((place & 0xff) == 0xff) lua_charge(L, 16);\n    \
         if (!ttisnil(gval(n))) {\n      setobj2s(L, key, key2tval(n));\n      setobj2s(L, key+1, gval(n));\n      \
         return place + 1;\n    }\n  }\n  return 0;\n}\n\n\
         int luaH_next (lua_State *L, Table *t, StkId key) {",
    ),
    ("lapi.c", "#include \"lmem.h\"", "#include \"lmem.h\"\n#include \"lopcodes.h\""),
    (
        "lua.h",
        "LUA_API int lua_sethook (",
        "LUA_API void lua_setreadonly (lua_State *L, int idx, int on);\n\
         LUA_API void lua_work (lua_State *L, size_t instructions);\n\
         #define lua_tick(L)\tlua_work(L, 4)\n\
         LUA_API void lua_handcount (lua_State *from, lua_State *to);\n\
         LUA_API void lua_charge (lua_State *L, size_t instructions);\nLUA_API int lua_isreadonly (lua_State *L, int idx);\n\
         LUA_API int lua_assigns (lua_State *L, int idx);\n\
         LUA_API const char *lua_bytes (lua_State *L, int idx, size_t *len);\n\
         LUA_API int lua_pushpair (lua_State *L, int idx, int place);\n\
         LUA_API int *lua_ending (void);\nLUA_API int lua_sethook (",
    ),
    // A function of ours has room for a few values more, however many arguments it was given.
    (
        "lapi.c",
        "(L->top - L->base + size) > LUAI_MAXCSTACK)",
        "(size > LUA_MINSTACK && (L->top - L->base + size) > LUAI_MAXCSTACK))",
    ),
    // A script that is to end ends in handlers of errors too, …
    (
        "ldebug.c",
        "    luaD_call(L, L->top - 2, 1);  /* call it */",
        "    L->allowhook = 1;\n    luaD_call(L, L->top - 2, 1);  /* call it */",
    ),
    // … and begins no coroutine any more, each of which would run until its hook is called.
    (
        "lbaselib.c",
        "  int status = costatus(L, co);\n  if (!lua_checkstack(co, narg))",
        "  int status = costatus(L, co);\n  if (*lua_ending()) {\n    lua_pushliteral(L, \"the script is to end\");\n    \
         return -1;\n  }\n  if (!lua_checkstack(co, narg))",
    ),
    ("lapi.c", "    status = luaU_dump(L, clvalue(o)->l.p, writer, data, 0);", "    status = 1;"),
    // The parser keeps the name of the chunk where the collector sees it.
    (
        "lparser.c",
        "  luaX_setinput(L, &lexstate, z, luaS_new(L, name));",
        "  TString *chunk_name = luaS_new(L, name);\n  setsvalue2s(L, L->top, chunk_name);\n  incr_top(L);\n  \
         luaX_setinput(L, &lexstate, z, chunk_name);",
    ),
    (
        "lparser.c",
        "  lua_assert(funcstate.prev == NULL);\n  lua_assert(funcstate.f->nups == 0);",
        "  L->top--;\n  lua_assert(funcstate.prev == NULL);\n  lua_assert(funcstate.f->nups == 0);",
    ),
    // Text only, whatever it begins with.
    (
        "ldo.c",
        "  tf = ((c == LUA_SIGNATURE[0]) ? luaU_undump : luaY_parser)(L, p->z,\n                                                             &p->buff, p->name);",
        "  tf = luaY_parser(L, p->z, &p->buff, p->name);",
    ),
    ("ldo.c", "    luaD_checkstack(L, p->maxstacksize);", "    luaD_checkstack(L, p->maxstacksize + p->numparams);"),
    (
        "lbaselib.c",
        "  n = e - i + 1;  /* number of elements */\n  if (n <= 0 || !lua_checkstack(L, n))  /* n <= 0 means arith. overflow */",
        "  if ((unsigned int)e - (unsigned int)i >= 8000u || !lua_checkstack(L, (n = e - i + 1)))",
    ),
    // The level of a long bracket is counted in 31 bits.
    (
        "llex.c",
        "    save_and_next(ls);\n    count++;\n",
        "    save_and_next(ls);\n    if (++count > 1000000) luaX_lexerror(ls, \"invalid long string delimiter\", TK_STRING);\n",
    ),
    // A coroutine goes on with the count of who resumes it, and its resumer with what is left of it: those that are
    // made for ever take time together.
    (
        "lbaselib.c",
        "  status = lua_resume(co, narg);",
        "  lua_handcount(L, co);\n  status = lua_resume(co, narg);\n  lua_handcount(co, L);",
    ),
    (
        "lbaselib.c",
        "  lua_State *NL = lua_newthread(L);",
        "  lua_State *NL;\n  lua_work(L, 64);\n  NL = lua_newthread(L);",
    ),
    // A text takes time to read: a look at the clock now and then, and an instruction for each byte.
    (
        "llex.c",
        "  ls->lastline = ls->linenumber;\n  if (ls->lookahead",
        "  lua_tick(ls->L);\n  ls->lastline = ls->linenumber;\n  if (ls->lookahead",
    ),
    (
        "lbaselib.c",
        "  return load_aux(L, luaL_loadbuffer(L, s, l, chunkname));",
        "  lua_charge(L, l);\n  return load_aux(L, luaL_loadbuffer(L, s, l, chunkname));",
    ),
    (
        "lbaselib.c",
        "    return lua_tolstring(L, 3, size);",
        "    const char *piece = lua_tolstring(L, 3, size);\n    lua_charge(L, *size);\n    return piece;",
    ),
    // So do values that are passed by the thousand, to and from functions of C …
    (
        "ldo.c",
        "    n = (*curr_func(L)->c.f)(L);  /* do the actual call */\n    lua_lock(L);\n",
        "    if (L->top - L->base > 64) lua_charge(L, (size_t)(L->top - L->base) >> 2);\n    \
         n = (*curr_func(L)->c.f)(L);  /* do the actual call */\n    lua_lock(L);\n    \
         if (n > 64) lua_charge(L, (size_t)n >> 2);\n",
    ),
    (
        "lvm.c",
        "          b = n;\n          L->top = ra + n;\n",
        "          b = n;\n          L->top = ra + n;\n          if (n > 64) lua_charge(L, (size_t)n >> 2);\n",
    ),
    // … and one by one.
    (
        "lbaselib.c",
        "  lua_rawgeti(L, 1, i);  /* push arg[i] (avoiding overflow problems) */",
        "  lua_charge(L, (size_t)n);\n  lua_rawgeti(L, 1, i);  /* push arg[i] (avoiding overflow problems) */",
    ),
    // Patterns: bounded depth, and a look at the clock now and then.
    (
        "lstrlib.c",
        "  int level;  /* total number of captures",
        "  int depth;\n  int level;  /* total number of captures",
    ),
    (
        "lstrlib.c",
        "static const char *match (MatchState *ms, const char *s, const char *p) {\n  init:",
        "static const char *match_at (MatchState *ms, const char *s, const char *p);\n\n\
         static const char *match (MatchState *ms, const char *s, const char *p) {\n  const char *res;\n  \
         if (ms->depth-- == 0) luaL_error(ms->L, \"pattern too complex\");\n  lua_tick(ms->L);\n  \
         res = match_at(ms, s, p);\n  ms->depth++;\n  return res;\n}\n\n\
         static const char *match_at (MatchState *ms, const char *s, const char *p) {\n  init:",
    ),
    // … each item of them, each repetition, and classes by their length, which are looked through for every byte.
    (
        "lstrlib.c",
        "static const char *classend (MatchState *ms, const char *p) {\n",
        "static const char *classend (MatchState *ms, const char *p) {\n  const char *start = p;\n  \
         lua_work(ms->L, 1);\n",
    ),
    (
        "lstrlib.c",
        "      } while (*p != ']');\n",
        "      } while (*p != ']');\n      if (p - start >= 16) lua_work(ms->L, (size_t)(p - start) >> 3);\n",
    ),
    (
        "lstrlib.c",
        "    i++;\n  /* keeps trying to match",
        "    { i++; lua_work(ms->L, 1 + ((size_t)(ep - p) >> 4)); }\n  /* keeps trying to match",
    ),
    (
        "lstrlib.c",
        "      s++;  /* try with one more repetition */",
        "      { s++; lua_work(ms->L, 1 + ((size_t)(ep - p) >> 4)); }",
    ),
    (
        "lstrlib.c",
        "    while (++s < ms->src_end) {\n",
        "    while (++s < ms->src_end) {\n      if (((ms->src_end - s) & 0xff) == 0) lua_work(ms->L, 64);\n",
    ),
    (
        "lstrlib.c",
        "      memcmp(ms->capture[l].init, s, len) == 0)",
        "      (lua_work(ms->L, len >> 4), memcmp(ms->capture[l].init, s, len) == 0))",
    ),
    (
        "lstrlib.c",
        "  const char *news = lua_tolstring(ms->L, 3, &l);\n",
        "  const char *news = lua_tolstring(ms->L, 3, &l);\n  lua_work(ms->L, l >> 3);\n",
    ),
    ("lstrlib.c", "      i++;  /* skip ESC */", "      lua_tick(ms->L);\n      i++;  /* skip ESC */"),
    ("lstrlib.c", "    ms.L = L;\n    ms.src_init = s;", "    ms.L = L;\n    ms.depth = 2000;\n    ms.src_init = s;"),
    ("lstrlib.c", "  ms.L = L;\n  ms.src_init = s;", "  ms.L = L;\n  ms.depth = 2000;\n  ms.src_init = s;"),
    ("lstrlib.c", "  ms.L = L;\n  ms.src_init = src;", "  ms.L = L;\n  ms.depth = 2000;\n  ms.src_init = src;"),
    // Linear, whatever is looked for in whatever.
    (
        "lstrlib.c",
        "  if (l2 == 0) return s1;  /* empty strings are everywhere */",
        "  if (l2 != 0) return (const char *)memmem(s1, l1, s2, l2);\n  \
         if (l2 == 0) return s1;  /* empty strings are everywhere */",
    ),
    ("lstrlib.c", "  int n = luaL_checkint(L, 2);\n", "  int n = luaL_checkint(L, 2);\n  if (l == 0) n = 0;\n"),
    (
        "ltablib.c",
        "      for (i = e; i > pos; i--) {  /* move up elements */",
        "      for (i = e; i > pos; i--) {  /* move up elements */\n        lua_tick(L);",
    ),
    (
        "ltablib.c",
        "static int sort_comp (lua_State *L, int a, int b) {",
        "static int sort_comp (lua_State *L, int a, int b) {\n  lua_tick(L);",
    ),
    // What takes as long as many instructions counts as so many, so that the next tick comes in time: bytes that are
    // copied, looked through or compared …
    (
        "lstring.c",
        "  for (l1=l; l1>=step; l1-=step)  /* compute hash */",
        "  if (l >= 256) lua_charge(L, l >> 4);\n  for (l1=l; l1>=step; l1-=step)  /* compute hash */",
    ),
    (
        "lstrlib.c",
        "    const char *s2 = lmemfind(s+init, l1-init, p, l2);",
        "    const char *s2;\n    lua_work(L, (l1 - init) >> 4);\n    s2 = lmemfind(s+init, l1-init, p, l2);",
    ),
    ("lstrlib.c", "  if (init < 0) init = 0;\n", "  lua_work(L, l2 >> 4);\n  if (init < 0) init = 0;\n"),
    (
        "lbaselib.c",
        "    const char *s1 = luaL_checkstring(L, 1);\n",
        "    const char *s1 = luaL_checkstring(L, 1);\n    lua_work(L, lua_objlen(L, 1) >> 2);\n",
    ),
    ("lvm.h", "(((o) = luaV_tonumber(o,n)) != NULL))", "(((o) = luaV_tonumber(L,o,n)) != NULL))"),
    (
        "lvm.h",
        "luaV_tonumber (const TValue *obj, TValue *n);",
        "luaV_tonumber (lua_State *L, const TValue *obj, TValue *n);",
    ),
    (
        "lvm.c",
        "luaV_tonumber (const TValue *obj, TValue *n) {\n  lua_Number num;\n  if (ttisnumber(obj)) return obj;\n",
        "luaV_tonumber (lua_State *L, const TValue *obj, TValue *n) {\n  lua_Number num;\n  \
         if (ttisnumber(obj)) return obj;\n  \
         if (ttisstring(obj) && tsvalue(obj)->len >= 64) lua_charge(L, tsvalue(obj)->len >> 2);\n",
    ),
    (
        "lvm.c",
        "  if ((b = luaV_tonumber(rb, &tempb)) != NULL &&\n      (c = luaV_tonumber(rc, &tempc)) != NULL) {",
        "  if ((b = luaV_tonumber(L, rb, &tempb)) != NULL &&\n      (c = luaV_tonumber(L, rc, &tempc)) != NULL) {",
    ),
    ("ldebug.c", "luaV_tonumber(p1, &temp)", "luaV_tonumber(L, p1, &temp)"),
    (
        "lvm.c",
        "    return l_strcmp(rawtsvalue(l), rawtsvalue(r)) < 0;",
        "  {\n    lua_charge(L, tsvalue(l)->len >> 4);\n    return l_strcmp(rawtsvalue(l), rawtsvalue(r)) < 0;\n  }",
    ),
    (
        "lvm.c",
        "    return l_strcmp(rawtsvalue(l), rawtsvalue(r)) <= 0;",
        "  {\n    lua_charge(L, tsvalue(l)->len >> 4);\n    return l_strcmp(rawtsvalue(l), rawtsvalue(r)) <= 0;\n  }",
    ),
    (
        "lstrlib.c",
        "  while (n-- > 0)\n    luaL_addlstring(&b, s, l);",
        "  while (n-- > 0) {\n    luaL_addlstring(&b, s, l);\n    if ((n & 0x3f) == 0) lua_tick(L);\n  }",
    ),
    // … and elements.
    (
        "ltable.c",
        "  for (i++; i < t->sizearray; i++) {  /* try first array part */",
        "  for (i++; i < t->sizearray; i++) {  /* try first array part */\n    if ((i & 0xff) == 0) lua_charge(L, 16);",
    ),
    (
        "ltable.c",
        "  for (i -= t->sizearray; i < sizenode(t); i++) {  /* then hash part */",
        "  for (i -= t->sizearray; i < sizenode(t); i++) {  /* then hash part */\n    if ((i & 0xff) == 0) lua_charge(L, 16);",
    ),
    (
        "ltablib.c",
        "    lua_pop(L, 1);  /* remove value */\n    if",
        "    lua_pop(L, 1);  /* remove value */\n    lua_work(L, 1);\n    if",
    ),
    ("ltablib.c", "  for ( ;pos<e; pos++) {", "  for ( ;pos<e; pos++) {\n    lua_tick(L);"),
    ("ltablib.c", "    luaL_addlstring(&b, sep, lsep);", "    luaL_addlstring(&b, sep, lsep);\n    lua_work(L, 1);"),
    (
        "ltablib.c",
        "    lua_pop(L, 2);  /* remove value and result */",
        "    lua_pop(L, 2);  /* remove value and result */\n    lua_tick(L);",
    ),
    (
        "ltablib.c",
        "    lua_pop(L, 1);  /* remove nil result */",
        "    lua_pop(L, 1);  /* remove nil result */\n    lua_tick(L);",
    ),
];

/// Where the sources lie. The crate `lua-src` does not tell; but asked to build for a machine that there is not it
/// panics, and a panic says in which file. (`cargo metadata` would need every dependency of every platform at hand.)
fn lua_sources() -> PathBuf {
    let (send, place) = mpsc::channel();
    panic::set_hook(Box::new(move |panic| {
        let _ = send.send(panic.location().map(|location| PathBuf::from(location.file())));
    }));
    let out = env::var_os("OUT_DIR").expect("cargo says");
    let built = panic::catch_unwind(|| lua_src::Build::new().out_dir(&out).target("nowhere").build(lua_src::Lua51));
    assert!(built.is_err(), "lua-src builds for anything");
    let _ = panic::take_hook();
    let file = place.recv().expect("it panicked").expect("a panic has a place");
    // Relative where the crate is vendored.
    let file = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo says")).join(file);
    file.parent().and_then(Path::parent).expect("src/lib.rs of a crate").join("lua-5.1.5")
}

/// What reaches into the allocator. It has to see the same structures as the allocator itself, so it is built with the
/// same settings: these, and those of `CFLAGS`.
fn build_pages() {
    println!("cargo:rerun-if-changed=src/memory/pages.c");
    let headers = PathBuf::from(env::var_os("DEP_MIMALLOC_INCLUDE_DIR").expect("libmimalloc-sys says"));
    let mut build = cc::Build::new();
    build
        .include(&headers)
        .include(headers.join("../src"))
        .define("MI_DEBUG", "0")
        .define("NDEBUG", None)
        .warnings(false);
    build.file("src/memory/pages.c").compile("corering_pages");
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    build_pages();
    let (from, to) = (lua_sources(), PathBuf::from(env::var_os("OUT_DIR").expect("cargo says")).join("lua"));
    fs::create_dir_all(&to).expect("the output folder can be written");
    for entry in fs::read_dir(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("listed").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let mut text = String::from_utf8_lossy(&fs::read(&path).expect("listed")).into_owned();
        // Longer first: one edit's text may begin with another's.
        let mut edits: Vec<_> = EDITS.iter().filter(|(file, _, _)| *file == name).collect();
        edits.sort_by_key(|(_, old, _)| std::cmp::Reverse(old.len()));
        for (_, old, new) in edits {
            assert_eq!(text.matches(old).count(), 1, "{name} is not the Lua 5.1.5 that is edited here: {old}");
            text = text.replacen(old, new, 1);
        }
        fs::write(to.join(name), text).expect("the output folder can be written");
    }
    let mut build = cc::Build::new();
    build.include(&to).warnings(false).define("LUA_USE_ULONGJMP", None).define("_GNU_SOURCE", None);
    build.files(SOURCES.iter().map(|name| to.join(format!("{name}.c")))).compile("corering_lua");
}
