"""How bundles are made of finished runs. `fer_bench.deploy` names what others may use."""
