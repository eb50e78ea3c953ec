"""The doctor: what is wrong with a training, where, why, and which changes helped when tried.

diagnose      `cr.diagnose`; `recipes`: of a recipe or a run, which it repairs
first_rows    what is refused before
diagnosis     its result as text, HTML and data; `words`, `code`: changes in words, in Python
records       a diagnosis beside its run, and in the run's report; `page`: pieces of its HTML
search        trials of faults, alone and together; `bundles`: faults that are cured together
faults        what may be wrong, by the facts
facts         what is measured of a training; `loss_reading`: of its loss function
measured      what is measured of a training beside what is expected
score         how good predictions are
training      a training as the doctor sees it
setup         all that decides a training of modules; `runnable`: observes and runs it
modules       such a training of this library's modules, `scheduled`: with a schedule; `changes`:
              changes of it, `structure`: of how the network is built
pytorch       the same for PyTorch's
"""

from .diagnose import diagnose
from .diagnosis import Diagnosis

__all__ = ["Diagnosis", "diagnose"]
