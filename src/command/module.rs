//! `MODULE`: none can be loaded, and none is. Tools ask for the list, which is empty; who may load one
//! (`enable-module-command`) is told as in Redis, and that it failed. Why, the log says.

use super::client::write_help;
use super::config::is_local;
use super::{Args, Command, CommandResult, Flags, Group, Run, SessionView};
use crate::config::Config;
use crate::resp::{Error, Reply};
use crate::session::Session;

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const LOADER: Flags = ADMIN.union(Flags::NO_ASYNC_LOADING);

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("MODULE", Run::Container)
    .arity(-2)
    .docs(Group::Server, "4.0.0", "Commands about modules.")
    .complexity("Depends on subcommand.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("HELP", Run::Session(help)).arity(2).flags(Flags::LOADING.union(Flags::STALE)).docs(
        Group::Server,
        "5.0.0",
        "Describes the subcommands.",
    ),
    Command::new("LIST", Run::Session(list))
        .arity(2)
        .flags(ADMIN)
        .docs(Group::Server, "4.0.0", "Returns the modules that are loaded: none.")
        .complexity("O(1)")
        .tips(&["nondeterministic_output_order"]),
    Command::new("LOAD", Run::Session(load))
        .arity(-3)
        .permission(permission)
        .flags(LOADER)
        .docs(Group::Server, "4.0.0", "Loads a module: fails, for modules are not supported.")
        .complexity("O(1)")
        .syntax("path [arg ...]"),
    Command::new("LOADEX", Run::Session(load))
        .arity(-3)
        .permission(permission)
        .flags(LOADER)
        .docs(Group::Server, "7.0.0", "Loads a module with a configuration: fails, for modules are not supported.")
        .complexity("O(1)")
        .syntax("path [CONFIG name value ...] [ARGS arg ...]"),
    Command::new("UNLOAD", Run::Session(unload))
        .arity(3)
        .permission(permission)
        .flags(LOADER)
        .docs(Group::Server, "4.0.0", "Unloads a module, if it is loaded: none is.")
        .complexity("O(1)")
        .syntax("name"),
];

fn permission(config: &Config, session: &Session) -> CommandResult {
    if config.enable_module_command.allows(is_local(session)) {
        return Ok(());
    }
    Err(Error::switched_off("MODULE", "enable-module-command"))
}

fn list(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(0);
    Ok(())
}

fn load(view: &mut SessionView<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    permission(view.config, view.session)?;
    tracing::warn!("Module {} failed to load: modules are not supported", String::from_utf8_lossy(args[2]));
    Err(Error::fixed("ERR Error loading the extension. Please check the server logs."))
}

fn unload(view: &mut SessionView<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    permission(view.config, view.session)?;
    Err(Error::fixed("ERR Error unloading module: no such module with that name"))
}

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}
