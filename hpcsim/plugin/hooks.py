import pluggy
hookimpl = pluggy.HookimplMarker("hpcsim")
