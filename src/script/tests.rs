//! What a script must not do to its server: each hole that is named in the module's page and in `build.rs`.

use super::*;

/// Answers every call with `+OK`, and ends scripts after some ticks.
struct Double {
    ticks_left: u32,
    calls: Vec<String>,
}

impl Caller for Double {
    fn call(&mut self, args: &[&[u8]], _: Protocol, out: &mut Output) -> Answer {
        self.calls.push(args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" "));
        match args[0] {
            b"roam" => return Answer::Ends("away"),
            b"refused" => return Answer::Refused(Error::fixed("ERR not here")),
            b"long" => {
                let len = 50_000_000 + self.calls.len();
                out.extend_from_slice(format!("${len}\r\n").as_bytes());
                out.extend_from_slice(&vec![b'x'; len]);
                out.extend_from_slice(b"\r\n");
            }
            b"empties" => {
                out.extend_from_slice(b"*10000000\r\n");
                out.extend_from_slice(&b"*0\r\n".repeat(10_000_000));
            }
            b"fails" => out.extend_from_slice(b"-WRONGTYPE no\r\n"),
            b"null" => out.extend_from_slice(b"$-1\r\n"),
            b"map" => out.extend_from_slice(b"%1\r\n$1\r\na\r\n:1\r\n"),
            _ => out.extend_from_slice(b"+OK\r\n"),
        }
        Answer::Replied
    }

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        Some(true)
    }

    fn log(&mut self, level: usize, line: &[u8]) -> Option<&'static str> {
        self.calls.push(format!("log {level} {}", String::from_utf8_lossy(line)));
        None
    }

    fn tick(&mut self) -> Option<&'static str> {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        (self.ticks_left == 0).then_some("Script killed by user with SCRIPT KILL...")
    }

    fn cpu_seconds(&mut self) -> f64 {
        1.5
    }
}

fn run_on(engine: &mut Engine, text: &str) -> String {
    run_for(engine, text, 20)
}

fn run_for(engine: &mut Engine, text: &str, ticks_left: u32) -> String {
    let mut out = Output::default();
    let mut caller = Double { ticks_left, calls: Vec::new() };
    match engine.compile(text.as_bytes()) {
        Ok(reference) => {
            let call = Invocation {
                reference,
                name: "sha",
                is_function: false,
                keys: &[b"k"],
                args: &[b"a"],
                protocol: Protocol::Resp2,
            };
            engine.run(&call, &mut caller, &mut out);
            engine.forget(reference);
        }
        Err(error) => Reply::new(&mut out, Protocol::Resp2).error(&error),
    }
    String::from_utf8_lossy(out.bytes()).replace("\r\n", "|")
}

fn run(text: &str) -> String {
    run_on(&mut Engine::new("7.2.4"), text)
}

const KILLED: &str = "Script killed by user with SCRIPT KILL...";

#[test]
fn there_is_nothing_that_reaches_the_machine() {
    for name in
        ["io", "package", "require", "debug", "dofile", "loadfile", "module", "print", "newproxy", "getfenv", "setfenv"]
    {
        let reply = run(&format!("return {name}"));
        assert!(reply.contains(&format!("nonexistent global variable '{name}'")), "{name}: {reply}");
    }
    assert_eq!(
        run("local names = {} for name in pairs(os) do names[#names + 1] = name end return names"),
        "*1|$5|clock|"
    );
    assert_eq!(run("return os.clock() * 2"), ":3|");
    assert!(run("return string.dump(function() end)").contains("attempt to call field 'dump'"));
}

#[test]
fn bytecode_is_refused() {
    for text in [
        "return loadstring('\\27LuaQ')",
        "return load(function() return '\\27LuaQ\\0\\1' end)",
        "return (loadstring('\\27LuaQ\\0\\1\\4\\8\\4\\8\\0', '=x'))",
    ] {
        assert_eq!(run(text), "$-1|", "{text}");
    }
    assert!(run("\x1bLuaQ").starts_with("-ERR Error compiling script"));
    assert_eq!(run("return loadstring('return 1 + 1', 'name')()"), ":2|");
}

#[test]
fn what_overflows_in_plain_lua_is_an_error() {
    for text in [
        "return unpack({}, -2147483648, 2147483647)",
        "return unpack({}, 0, 2147483647)",
        "return unpack({}, 1, 1e7)",
        "return unpack({1}, -1e9, 1e9)",
    ] {
        assert!(run(text).contains("too many results to unpack"), "{text}");
    }
    assert_eq!(run("return {unpack({1, 2, 3}, 2)}"), "*2|:2|:3|");
    let long = format!("return loadstring('return [' .. string.rep('=', {}) .. '[x')", 1_000_001);
    assert_eq!(run(&long), "$-1|");
    // A call with many arguments of a function with many parameters.
    let parameters: Vec<String> = (0..150).map(|index| format!("p{index}")).collect();
    let text = format!("local function f({}, ...) return 1 end return f(unpack({{}}, 1, 7000))", parameters.join(","));
    assert_eq!(run(&text), ":1|");
    // The parser's name of the chunk, while the collector works as hard as it can.
    let text = "collectgarbage('setpause', 0) local t = {} for i = 1, 200 do \
                loadstring('local ' .. string.rep('a' .. i, 50) .. ' = {' .. string.rep('{},', 200) .. '}', 'name' .. i) \
                collectgarbage('step', 1) end return 'ok'";
    assert_eq!(run(text), "$2|ok|");
}

#[test]
fn what_does_not_end_is_ended() {
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() return 1 end) end",
        "local f = function() while true do end end while true do coroutine.resume(coroutine.create(f)) end",
        "return string.rep('a', 5000):match(string.rep('a*', 60) .. 'b')",
        "return string.rep('a', 100000):find(string.rep('.-', 30) .. 'b')",
        "table.insert({}, -2147483647, 'x') table.insert({}, -2147483647, 'x') while true do end",
        "local t = {} for i = 1, 3000000 do t[i] = -i end table.sort(t) while true do end",
        "local function f() return f() end return f()",
        "repeat local ok = pcall(redis.call, 'get', 'x') until false",
        "local function f() for i = 1, 10 do coroutine.resume(coroutine.create(f)) end end f()",
        "local function f() for i = 1, 10 do pcall(coroutine.wrap(f)) end end f()",
        "return ('x'):rep(5e5):find('[' .. ('y'):rep(1e6) .. ']')",
        "return ('x'):rep(5e5):find('[^' .. ('y'):rep(1e6) .. ']*z')",
        "return ('x'):rep(5e5):find('[^' .. ('y'):rep(1e6) .. ']-z')",
        "return ('x'):rep(5e5):find('%f[' .. ('y'):rep(1e6) .. ']')",
        "return ('a'):rep(1e6):find(('a'):rep(5e5) .. 'b.')",
        "return ('('):rep(1e6):find('%b()')",
        "return ('a'):rep(1e6):find('(a+)%1b')",
        "return ('x'):rep(1e6):gsub('(.-)', ('%1'):rep(1e6))",
    ] {
        let reply = run(text);
        assert!(reply.contains(KILLED), "{text}: {reply}");
    }
}

#[test]
fn what_takes_long_within_a_library_is_ended_there() {
    let shared = "local t = {} for i = 1, 100 do t = {t, t} end";
    for text in [
        format!("{shared} return #cjson.encode(t)"),
        format!("{shared} return t"),
        format!("{shared} return {{map = {{t, t}}}}"),
        "local t = {} for i = 1, 15 do t = {t, t, t, t, t, t, t, t} end return #cmsgpack.pack(t)".to_owned(),
        "return cjson.decode('[' .. ('1,'):rep(2^20) .. '1]')".to_owned(),
        "return cmsgpack.unpack('\\221\\0\\16\\0\\0' .. ('\\1'):rep(2^20))".to_owned(),
        "local text = ('x = 1 '):rep(2^17) while true do loadstring(text) end".to_owned(),
    ] {
        let reply = run(&text);
        assert!(reply.contains(KILLED), "{text}: {reply}");
        assert!(reply.len() < 200, "nothing of it is left: {text}");
    }
}

#[test]
fn what_libraries_do_counts_as_instructions() {
    let list = "local t = {} for i = 1, 7000 do t[i] = i end";
    let long = "local s = ('x'):rep(2^20)";
    for (before, step) in [
        (list, "cjson.encode(t)"),
        (list, "cmsgpack.pack(t)"),
        (list, "table.concat(t)"),
        (list, "bit.bor(unpack(t))"),
        (long, "redis.sha1hex(s)"),
        (long, "s:upper()"),
        (long, "s:find('y', 1, true)"),
        (long, "cmsgpack.pack(s)"),
        (long, "struct.pack('c0', s)"),
        (list, "(function(...) for i = 1, 10 do math.max(...) end end)(unpack(t))"),
        (list, "(function(...) for i = 1, 10 do select('#', ...) end end)(unpack(t))"),
        (long, "(''):find(s)"),
        (long, "pcall(function() return _G[s] end)"),
        (long, "pcall(collectgarbage, s)"),
        (long, "redis.pcall('refused', s)"),
        ("local s = '1' .. (' '):rep(2^20)", "cjson.decode(s)"),
        ("local s = '1' .. (' '):rep(2^20) .. 'x'", "pcall(cjson.decode, s)"),
        ("local s = '\"' .. ('x'):rep(2^20)", "pcall(cjson.decode, s)"),
        ("local s = (' '):rep(2^20)", "struct.size(s)"),
        ("local s = (' '):rep(2^20)", "tonumber(s)"),
        ("local s = (' '):rep(2^20)", "tonumber(s, 16)"),
        ("local s = (' '):rep(2^20)", "pcall(function() return s + 1 end)"),
        ("local s = (' '):rep(2^20)", "pcall(string.format, '%d', s)"),
        ("local s = cjson.encode(('x'):rep(2^20))", "cjson.decode(s)"),
        ("local s = '--' .. ('x'):rep(2^20)", "loadstring(s)"),
    ] {
        // The turns themselves are some thousand instructions: hardly a tick.
        let text = format!("{before} for turn = 1, 300 do {step} end return 'went on'");
        let reply = run_for(&mut Engine::new("7.2.4"), &text, 12);
        assert!(reply.contains(KILLED), "{text}: {reply}");
    }
}

#[test]
fn what_a_library_makes_counts_as_memory_of_the_script() {
    let long = "local s = ('x'):rep(2^26)";
    for text in [
        "local s = ('x'):rep(1e7) local t = {} for i = 1, 200 do t[i] = s end return #cmsgpack.pack(t)",
        "return #cjson.encode(('\\1'):rep(2^26))",
        &format!("{long} return #struct.pack('c0c0c0c0', s, s, s, s)"),
        &format!("{long} return #struct.pack('ssss', s, s, s, s)"),
        &format!("{long} local t = {{}} for i = 1, 4 do t[i] = struct.unpack('c' .. #s - i, s) end"),
        "local t = {} for i = 1, 10 do t[i] = redis.call('long') end",
        "return redis.call('empties')",
        "return cmsgpack.unpack(('\\221\\0\\16\\0\\0'):rep(900) .. ('\\1'):rep(2^20))",
        "local t, s = {}, cjson.encode(('x'):rep(2^26)) for i = 1, 4 do t[i] = cjson.decode(s) .. i end",
    ] {
        let reply = run_for(&mut Engine::new("7.2.4"), text, 100_000);
        assert!(reply.contains("not enough memory"), "{text}: {}", &reply[..reply.len().min(300)]);
    }
    let text = format!("{long} return #cmsgpack.pack({{s, s}})");
    assert_eq!(run_for(&mut Engine::new("7.2.4"), &text, 100_000), ":134217739|");
    let text = "return #cjson.encode(('\\1'):rep(2^20))";
    assert_eq!(run_for(&mut Engine::new("7.2.4"), text, 100_000), ":6291458|");
}

#[test]
fn a_small_part_of_a_long_string_is_read_without_the_rest() {
    // Were the string copied for every step these would be 600 GB: it does not fail, but it takes minutes.
    let text = "local s, left = ('\\1'):rep(2^26), {} \
                for i = 1, 3000 do struct.unpack('b', s, i) cmsgpack.unpack_one(s, i) pcall(cjson.decode, s) end \
                for i = 1, 3000 do redis.log(redis.LOG_DEBUG, s) end return 'read'";
    assert_eq!(run_for(&mut Engine::new("7.2.4"), text, 100_000), "$4|read|");
}

#[test]
fn arguments_are_memory_of_the_script() {
    let mut engine = Engine::new("7.2.4");
    let reference = engine.compile(b"return #ARGV[1]").expect("it is Lua");
    let mut caller = Double { ticks_left: 9, calls: Vec::new() };
    for (len, expected) in
        [(MEMORY_BYTES_MAX + (1 << 20), "-ERR Error running script sha, not enough memory|"), (1, ":1|")]
    {
        let arg = vec![b'x'; len];
        let call = Invocation {
            reference,
            name: "sha",
            is_function: false,
            keys: &[],
            args: &[&arg],
            protocol: Protocol::Resp2,
        };
        let mut out = Output::default();
        engine.run(&call, &mut caller, &mut out);
        assert_eq!(String::from_utf8_lossy(out.bytes()).replace("\r\n", "|"), expected);
    }
}

#[test]
fn what_would_be_too_deep_or_too_large_is_an_error() {
    for (text, expected) in [
        ("local function f() return 1 + f() end return f()", "stack overflow"),
        ("local t = {} for i = 1, 300 do t = setmetatable({}, {__index = t}) end return t.x", "loop in gettable"),
        ("return string.rep('(', 300)", "("),
        ("return loadstring('return ' .. string.rep('(', 1000) .. '1' .. string.rep(')', 1000))", "$-1|"),
        ("return string.rep('a', 10000):match(string.rep('a?', 5000))", "pattern too complex"),
        ("return string.rep('x', 1e9)", "not enough memory"),
        ("local s = 'x' while true do s = s .. s end", "not enough memory"),
        ("local t = {} while true do t[#t + 1] = {{}, {}, {}} end", "not enough memory"),
        ("return #string.rep('', 2147483647)", ":0|"),
        ("local t = {} t[1] = t t[2] = t return t", "too large"),
        ("local t = {} for i = 1, 1200 do t = {t} end return t", "reached lua stack limit"),
        ("return cjson.decode(string.rep('[', 2000))", "too many nested"),
        ("return cmsgpack.unpack(string.rep('\\145', 2000))", "Bad data format"),
    ] {
        let reply = run_for(&mut Engine::new("7.2.4"), text, 100_000);
        assert!(reply.contains(expected), "{text}: {}", &reply[..reply.len().min(300)]);
    }
}

#[test]
fn after_a_script_ran_out_of_memory_others_run() {
    let mut engine = Engine::new("7.2.4");
    for _ in 0..3 {
        let reply = run_for(&mut engine, "local t = {} while true do t[#t + 1] = {} end", 100_000);
        assert!(reply.contains("not enough memory"), "{reply}");
        assert_eq!(run_on(&mut engine, "return 'fine'"), "$4|fine|");
    }
    engine.lua.collect();
    assert!(engine.used_bytes() < 4 << 20, "{}", engine.used_bytes());
}

#[test]
fn nothing_of_a_script_is_seen_by_the_next() {
    let mut engine = Engine::new("7.2.4");
    let readonly = "Attempt to modify a readonly table";
    for text in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "redis.call = 1",
        "string.len = 1",
        "table.insert(redis, 1)",
        "table.insert(math, 1, 1)",
        "table.sort({1, 2}, 1) string.x = 1",
        "getmetatable('').__index = 1",
        "getmetatable(_G).__index = nil",
        "setmetatable(_G, {})",
        "setmetatable(string, {})",
        "rawset(getmetatable(''), '__index', {})",
        "cjson.x = 1",
        "server.call = nil",
        "os.x = 1",
        "coroutine.create = nil",
    ] {
        let reply = run_on(&mut engine, text);
        assert!(reply.contains(readonly) || text.contains("sort"), "{text}: {reply}");
    }
    run_on(&mut engine, "cjson.encode_sparse_array(true) cjson.encode_max_depth(1) math.randomseed(7)");
    assert!(run_on(&mut engine, "return cjson.encode({[1] = 1, [100] = 1})").contains("excessively sparse"));
    let seeded = "math.randomseed(42) return {math.random(1000), math.random(10, 20)}";
    assert_eq!(run_on(&mut engine, seeded), "*2|:745|:13|");
    assert_ne!(run_on(&mut engine, "return math.random(1e6)"), run_on(&mut engine, "return math.random(1e6)"));
    let random = "return {math.random(100), math.random(100), math.random(100)}";
    assert_eq!(run_on(&mut Engine::new("7.2.4"), random), "*3|:40|:85|:36|", "as in Redis");
    assert_eq!(run_on(&mut engine, "KEYS[1] = 'changed' ARGV[2] = 'more' return #KEYS"), ":1|");
    assert_eq!(run_on(&mut engine, "return {KEYS[1], #ARGV}"), "*2|$1|k|:1|");
}

#[test]
fn functions_see_no_keys_of_scripts() {
    let mut engine = Engine::new("7.2.4");
    let text = "redis.register_function('f', function() return loadstring('return KEYS or ARGV')() end)";
    let mut caller = Double { ticks_left: 20, calls: Vec::new() };
    let reference = engine.load_library(text.as_bytes(), &mut caller).expect("it is well-formed")[0].reference;
    for _ in 0..2 {
        assert_eq!(run_on(&mut engine, "return KEYS[1] .. ARGV[1]"), "$2|ka|");
        let call =
            Invocation { reference, name: "f", is_function: true, keys: &[], args: &[], protocol: Protocol::Resp2 };
        let mut out = Output::default();
        engine.run(&call, &mut caller, &mut out);
        let reply = String::from_utf8_lossy(out.bytes()).into_owned();
        assert!(reply.contains("nonexistent global variable 'KEYS'"), "{reply}");
    }
}

#[test]
fn a_script_that_has_to_end_makes_no_further_call() {
    let mut engine = Engine::new("7.2.4");
    let text = "pcall(redis.call, 'roam') redis.call('set', 'x', 1) return 'went on'";
    let reference = engine.compile(text.as_bytes()).expect("it is Lua");
    let mut caller = Double { ticks_left: 9, calls: Vec::new() };
    let call =
        Invocation { reference, name: "sha", is_function: false, keys: &[], args: &[], protocol: Protocol::Resp2 };
    let mut out = Output::default();
    engine.run(&call, &mut caller, &mut out);
    assert_eq!(caller.calls, ["roam"]);
    assert!(out.bytes().starts_with(b"-ERR away"), "{}", String::from_utf8_lossy(out.bytes()));
    assert_eq!(run_on(&mut engine, "return 1"), ":1|", "the next one begins anew");
}

#[test]
fn replies_cannot_be_broken_into_two() {
    assert_eq!(run("return {err = 'ERR a\\r\\n+OK'}"), "-ERR a  +OK|");
    assert_eq!(run("return redis.status_reply('a\\r\\n:1')"), "+a  :1|");
    assert_eq!(run("error({err = 'X y\\nz'})").split('|').count(), 2);
    assert_eq!(run("return {big_number = '1\\r\\n:2'}"), "$5|1  :2|");
}

#[test]
fn json_numbers_are_those_of_c() {
    let text = r"
        for i = 1, 20000 do
            local x = (math.random() - 0.5) * 10 ^ math.random(-40, 40)
            if i % 2 == 0 then x = tonumber(string.format('%.' .. math.random(1, 16) .. 'g', x)) end
            local json, c = cjson.encode({x}), '[' .. string.format('%.14g', x) .. ']'
            if json ~= c then return {json, c} end
        end
        cjson.encode_number_precision(3)
        return cjson.encode({0, -0.5, 1e-5, 123456, 0.0001, 99950, 1 / 3, 1e300 * 10, 2 ^ 53})";
    assert_eq!(run(text), "$58|[0,-0.5,1e-05,1.23e+05,0.0001,1e+05,0.333,1e+301,9.01e+15]|");
}

#[test]
fn json_has_its_keys_in_the_order_of_lua() {
    let text = "
        for len = 0, 40 do
            local text, grown = {}, {}
            for i = 1, len do
                local key = 'k' .. i * 7919 % 1000
                text[i] = '\"' .. key .. '\":' .. i
                grown[key] = i
            end
            local read = cjson.decode('{' .. table.concat(text, ',') .. '}')
            local expected = {}
            for key, value in pairs(grown) do
                expected[#expected + 1] = '\"' .. key .. '\":' .. value
            end
            local json = '{' .. table.concat(expected, ',') .. '}'
            if cjson.encode(grown) ~= json or cjson.encode(read) ~= json then return len end
        end
        return cjson.encode({5, 6, x = 7})";
    assert_eq!(run(text), "$19|{\"1\":5,\"2\":6,\"x\":7}|");
}

#[test]
fn replies_and_refusals_come_as_redis_has_them() {
    assert_eq!(run("return redis.call('null') == false"), ":1|");
    assert_eq!(run("return redis.pcall('fails').err"), "$12|WRONGTYPE no|");
    assert!(run("return redis.call('fails')").starts_with("-WRONGTYPE no script: sha, on @user_script:1."));
    assert!(run("return redis.call('refused')").starts_with("-ERR not here script: sha"));
    assert_eq!(run("redis.setresp(3) return redis.call('map').map.a"), ":1|");
    assert_eq!(
        run("return {redis.REDIS_VERSION, redis.REDIS_VERSION_NUM, server == redis}"),
        "*3|$5|7.2.4|:459268|:1|"
    );
}

#[test]
fn a_library_keeps_what_it_registers_and_sees_no_keys() {
    let mut engine = Engine::new("7.2.4");
    let mut caller = Double { ticks_left: 20, calls: Vec::new() };
    let text = b"local n = 0 redis.register_function('count', function(keys, args) n = n + 1 return {n, keys[1], args[1]} end)";
    let functions = engine.load_library(text, &mut caller).expect("it is well-formed");
    assert_eq!(functions[0].name, "count");
    for expected in ["*3|:1|$1|k|$1|a|", "*3|:2|$1|k|$1|a|"] {
        let mut out = Output::default();
        let call = Invocation {
            reference: functions[0].reference,
            name: "count",
            is_function: true,
            keys: &[b"k"],
            args: &[b"a"],
            protocol: Protocol::Resp2,
        };
        engine.run(&call, &mut caller, &mut out);
        assert_eq!(String::from_utf8_lossy(out.bytes()).replace("\r\n", "|"), expected);
    }
    for (text, expected) in [
        ("return 1", "No functions registered"),
        ("redis.call('x')", "nonexistent global variable 'call'"),
        ("while true do end", KILLED),
        ("x = 1", "readonly"),
        ("return KEYS", "nonexistent global variable 'KEYS'"),
        ("redis.register_function('a b', function() end)", "names can only contain"),
    ] {
        let error = engine.load_library(text.as_bytes(), &mut caller).expect_err(text);
        assert!(error.text().contains(expected), "{text}: {}", error.text());
    }
    assert!(run_on(&mut engine, "return redis.register_function").starts_with("$-1"));
}

#[test]
fn what_takes_long_in_one_instruction_is_ended_in_time() {
    let long = "local s = string.rep('x', 2^21)";
    let list = "local t = {} for i = 1, 2^17 do t[i] = i end";
    for (before, step) in [
        (long, "string.find(s, 'y', 1, true)"),
        (long, "local t = s .. 'y'"),
        (long, "s:upper()"),
        (long, "string.rep(s, 2)"),
        (long, "local is_less = s < s"),
        (long, "redis.sha1hex(s)"),
        ("", "string.rep('x', 2^21)"),
        (list, "table.concat(t)"),
        (list, "table.maxn(t)"),
        (list, "table.insert(t, 1, 0) table.remove(t, 1)"),
        (list, "table.foreach(t, redis.debug) table.foreachi(t, redis.debug)"),
        ("local t = {} for i = 1, 2^17 do t[i] = i end for i = 1, 2^17 do t[i] = nil end", "next(t)"),
        (list, "collectgarbage()"),
        ("local text = cjson.encode(string.rep('x', 2^21))", "cjson.decode(text)"),
        ("local text = cmsgpack.pack(string.rep('x', 2^21))", "cmsgpack.unpack(text)"),
    ] {
        // The turns themselves are some thousand instructions: hardly a tick.
        let text = format!("{before} for turn = 1, 1000 do {step} end return 'went on'");
        let mut engine = Engine::new("7.2.4");
        let reply = run_for(&mut engine, &text, 30);
        assert!(reply.contains(KILLED), "{text}: {reply}");
    }
}

#[test]
fn errors_that_are_no_texts_are_named() {
    for (error, kind) in [
        ("function() end", "function: 0x"),
        ("pcall", "function: 0x"),
        ("coroutine.create(function() end)", "thread: 0x"),
        ("cjson.null", "userdata: (nil)"),
        ("{}", "unknown error"),
    ] {
        let reply = run(&format!("error({error})"));
        assert!(reply.starts_with(&format!("-ERR {kind}")), "{error}: {reply}");
    }
}

/// Loads a library, and a caller for it.
fn library(engine: &mut Engine, code: &str) -> Vec<i32> {
    let mut caller = Double { ticks_left: 1000, calls: Vec::new() };
    let functions = engine.load_library(code.as_bytes(), &mut caller).unwrap_or_else(|error| panic!("{error:?}"));
    functions.iter().map(|function| function.reference).collect()
}

fn call_function(engine: &mut Engine, reference: i32) -> String {
    let mut out = Output::default();
    let mut caller = Double { ticks_left: 1000, calls: Vec::new() };
    let call = Invocation { reference, name: "f", is_function: true, keys: &[], args: &[], protocol: Protocol::Resp2 };
    engine.run(&call, &mut caller, &mut out);
    String::from_utf8_lossy(out.bytes()).replace("\r\n", "|")
}

#[test]
fn local_variables_of_libraries_are_as_before_when_a_function_begins_again() {
    let code = "local count, words, deep, object = 0, {}, {list = {1, 2}, [true] = 'yes'}, {} \
                local function add() count = count + 1 words['w' .. count] = count deep.list[#deep.list + 1] = count end \
                redis.register_function('init', function() setmetatable(object, {__index = {size = 1}}) end) \
                redis.register_function('f', function() \
                  add() deep[true] = nil object.new = count object.size = object.size + 1 \
                  local keys = 0 for _ in pairs(words) do keys = keys + 1 end \
                  setmetatable(object, {__index = {size = 100}}) \
                  return {count, keys, #deep.list, deep[true] or 'no', object.size, object.new} end)";
    let mut engine = Engine::new("7.2.4");
    let functions = library(&mut engine, code);
    let function = functions[1];
    call_function(&mut engine, functions[0]);
    for _ in 0..3 {
        let saved = engine.begin_trial(function).expect("it is little").expect("it has variables");
        assert_eq!(call_function(&mut engine, function), "*6|:1|:1|:3|$2|no|:2|:1|");
        engine.end_trial(saved, true);
    }
    let saved = engine.begin_trial(function).expect("it is little").expect("it has variables");
    assert_eq!(call_function(&mut engine, function), "*6|:1|:1|:3|$2|no|:2|:1|");
    engine.end_trial(saved, false);
    assert_eq!(call_function(&mut engine, function), "*6|:2|:2|:4|$2|no|:3|:2|");
}

#[test]
fn libraries_without_variables_cost_nothing_and_large_ones_are_not_tried() {
    let mut engine = Engine::new("7.2.4");
    let plain = "local limit, call = 10, redis.log local function double(x) return 2 * x end \
                 redis.register_function('plain', function() local sum = double(limit) sum = sum + 1 return sum end)";
    let function = library(&mut engine, plain)[0];
    assert!(matches!(engine.begin_trial(function), Ok(None)));
    // What is no Lua: those that keep nothing, and iterators.
    for (value, is_tried) in [
        ("redis.call", true),
        ("ipairs", true),
        ("string.format", true),
        ("coroutine.wrap(function() coroutine.yield() end)", false),
        ("string.gmatch('a b', '%a')", false),
    ] {
        let code = format!(
            "local held redis.register_function('keeps', function() held = {value} end) \
             redis.register_function('uses', function() held = held return 1 end)"
        );
        let functions = library(&mut engine, &code);
        call_function(&mut engine, functions[0]);
        assert_eq!(matches!(engine.begin_trial(functions[1]), Ok(Some(_))), is_tried, "{value}");
    }
    let large = "local cache = {} for i = 1, 1000 do cache[i] = i end \
                 redis.register_function('large', function() return #cache end)";
    let function = library(&mut engine, large)[0];
    assert!(engine.begin_trial(function).is_err());
    let routine = "local routine = {} redis.register_function('routine', function() \
                     routine.one = coroutine.create(function() end) return type(routine.one) end)";
    let function = library(&mut engine, routine)[0];
    assert!(matches!(engine.begin_trial(function), Ok(Some(_))));
    assert_eq!(call_function(&mut engine, function), "$6|thread|");
    assert!(engine.begin_trial(function).is_err(), "where it stands cannot be brought back");
}
